import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from maskmill.postprocess import panoptic as panoptic_module
from maskmill.postprocess.panoptic import PanopticGrouping
from maskmill.postprocess.semantic import SemanticSegments
from maskmill.postprocess.sliding_window import SlidingWindow
from maskmill.postprocess.torch_network import TorchNetwork
from maskmill.postprocess.views import Views
from maskmill.postprocess.whole_image import WholeImage, stack
from strategies import CATEGORIES

REACH = 3  # px of the receptive field: three 3x3 convolutions
THING_IDS = [category.id for category in CATEGORIES if category.isthing]


class TinyPanopticDeepLab(nn.Module):
    """A fully convolutional network: an output pixel depends on the image within REACH of it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.Tanh(),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.Tanh(),
            nn.Conv2d(8, 7, 3, padding=1),
        )

    def forward(self, images):
        semantic, center, offset = self.body(images.float() / 64 - 2).split([4, 1, 2], dim=1)
        return {"semantic": 5 * semantic, "center": center.sigmoid(), "offset": 9 * offset}


@pytest.fixture(scope="module")
def network():
    return TorchNetwork(TinyPanopticDeepLab().eval())


def random_image(height, width, seed=0):
    """An image of smooth blobs, so that segments have shapes."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, height // 8 + 2, width // 8 + 2, generator=generator)
    fine = F.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    return (255 * fine[0].permute(1, 2, 0)).to(torch.uint8).numpy()


def grouping():
    return PanopticGrouping(
        threshold=0.3,
        nms_kernel=7,
        top_k=200,
        min_area_px=4,
        stuff_area_px=16,
        categories=CATEGORIES,
    )


def scores(prediction):
    return [segment.score for segment in prediction.panoptic.segments]


@pytest.mark.parametrize("size", [(97, 131), (64, 200), (40, 50), (200, 64), (33, 129)], ids=str)
@pytest.mark.parametrize("overlap", [0.3, 0.5, 0.75])
def test_with_a_margin_of_the_receptive_field_windows_give_the_maps_of_the_whole_image(
    network, size, overlap
):
    image = random_image(*size)
    inference = SlidingWindow((64, 96), overlap=overlap, margin=REACH)
    maps = inference.maps(network, image, batch_size=3)
    expected = network(stack([image]))
    np.testing.assert_array_equal(maps["classes"], expected["classes"])
    # a weighted mean of equal numbers rounds
    np.testing.assert_allclose(maps["confidence"], expected["confidence"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(maps["center"], expected["center"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(maps["offset"], expected["offset"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("image", [random_image(97, 131), random_image(150, 90, seed=1)])
def test_with_a_margin_of_the_receptive_field_windows_give_the_segments_of_the_whole_image(
    network, image
):
    (pred,) = SlidingWindow((64, 64), margin=REACH)(network, grouping(), [image], 4)
    (expected,) = WholeImage()(network, grouping(), [image], 4)
    assert len(expected.panoptic.segments) > 5
    assert pred.panoptic.size == image.shape[:2]
    np.testing.assert_array_equal(pred.panoptic.ids, expected.panoptic.ids)
    np.testing.assert_array_equal(pred.semantic, expected.semantic)
    assert pred.panoptic.category_of == expected.panoptic.category_of


def test_without_a_margin_outputs_differ_only_near_the_edges_of_windows(network):
    image = random_image(64, 200)
    maps = SlidingWindow((64, 64)).maps(network, image, 1)
    expected = network(stack([image]))
    difference = np.abs(maps["center"] - expected["center"])[0, 0].max(axis=0)  # per column
    near_edge = np.zeros(200, bool)
    for edge in [32, 64, 96, 128, 160, 192]:
        near_edge[edge - REACH : edge + REACH] = True
    assert difference[~near_edge].max() < 1e-6
    # pixels without all of their surroundings have a weight below 1/1000
    assert 1e-6 < difference[near_edge].max() < 1e-2


def decode_colours(images):
    """A network that reads its outputs from the image.

    Red is the class (200 for the centre of a ball), and green and blue are the offsets plus 128.
    """
    red = images[:, 0].long()
    is_center = red == 200
    classes = torch.where(is_center, 2, red)
    return {
        "semantic": 9 * F.one_hot(classes, 4).permute(0, 3, 1, 2).float(),
        "center": is_center.float()[:, None],
        "offset": images[:, 1:].float() - 128,
    }


def paint_ball(size, centre, radius):
    """A square image for `decode_colours` with a ball in its middle, and the pixels of the ball."""
    image = np.full((size, size, 3), (0, 128, 128), np.uint8)
    y, x = np.mgrid[:size, :size]
    is_ball = (y - centre) ** 2 + (x - centre) ** 2 <= radius**2
    image[is_ball, 0] = 2
    image[is_ball, 1] = (centre - y + 128)[is_ball]
    image[is_ball, 2] = (centre - x + 128)[is_ball]
    image[centre, centre, 0] = 200
    return image, is_ball


def test_an_instance_across_four_windows_is_one_instance():
    image, is_ball = paint_ball(size=128, centre=64, radius=50)  # four windows meet at its centre
    inference = SlidingWindow((64, 64), overlap=0.0)
    (pred,) = inference(TorchNetwork(decode_colours), grouping(), [image], 4)
    segments = pred.panoptic.segments
    (ball,) = [segment for segment in segments if segment.category_id in THING_IDS]
    np.testing.assert_array_equal(pred.panoptic.ids == ball.id, is_ball)


def test_the_batch_size_does_not_change_the_result(network):
    image = random_image(97, 131)
    (single,) = SlidingWindow((64, 64))(network, grouping(), [image], 1)
    (batched,) = SlidingWindow((64, 64))(network, grouping(), [image], 8)
    np.testing.assert_array_equal(single.panoptic.ids, batched.panoptic.ids)


def test_semantic_predictions_are_those_of_the_whole_image(network):
    image = random_image(97, 131)
    postprocess = SemanticSegments(categories=CATEGORIES)
    (pred,) = SlidingWindow((64, 64), margin=REACH)(network, postprocess, [image], 2)
    (expected,) = WholeImage()(network, postprocess, [image], 2)
    np.testing.assert_array_equal(pred.semantic, expected.semantic)
    assert scores(pred) == pytest.approx(scores(expected), rel=1e-5)


def test_views_of_windows_are_averaged(network):
    image = random_image(97, 131)
    views = Views(vertical=True)
    offset = SlidingWindow((64, 64), margin=REACH, views=views).maps(network, image, 2)["offset"]
    expected = views(network)(stack([image]))["offset"]
    without_views = network(stack([image]))["offset"]
    np.testing.assert_allclose(offset, expected, rtol=1e-4, atol=1e-4)
    assert not np.allclose(offset, without_views, atol=1e-2)


def test_batches_have_at_most_the_given_size(network):
    shapes = []

    def recording_network(images):
        shapes.append(tuple(images.shape))
        return network.tensors(images)

    # The windows start at 0, 32, ..., 256; the last is 44 px wide
    SlidingWindow((64, 64)).maps(TorchNetwork(recording_network), random_image(64, 300), 3)
    assert shapes == [(3, 3, 64, 64), (3, 3, 64, 64), (2, 3, 64, 64), (1, 3, 64, 44)]


@pytest.mark.parametrize("max_pixels", [131, 500, 5000])
def test_grouping_in_bands_of_rows_does_not_change_the_result(network, monkeypatch, max_pixels):
    outputs = network(stack([random_image(97, 131)]))
    (expected,) = grouping()(outputs, [(97, 131)])
    monkeypatch.setattr(panoptic_module, "MAX_PIXELS", max_pixels)
    (pred,) = grouping()(outputs, [(97, 131)])
    np.testing.assert_array_equal(pred.panoptic.ids, expected.panoptic.ids)
    assert scores(pred) == pytest.approx(scores(expected))


def test_outputs_of_queries_raise_a_value_error():
    def network_of_queries(images):
        return {"masks": torch.zeros(len(images), 9, 16, 16)}

    with pytest.raises(ValueError, match="inference=stitched_windows"):
        SlidingWindow((64, 64)).maps(TorchNetwork(network_of_queries), random_image(64, 64), 1)


@pytest.mark.slow
def test_inference_imports_no_training_libraries():
    code = """
import sys
import maskmill.postprocess.sliding_window, maskmill.postprocess.stitched_windows
import maskmill.postprocess.whole_image
training_only = {"timm", "lightning", "torchvision", "torchmetrics", "cv2",
                 "segmentation_models_pytorch"}
imported = training_only & set(sys.modules)
sys.exit(str(imported) if imported else 0)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
