import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from maskmill.postprocess import panoptic as panoptic_module
from maskmill.postprocess.panoptic import PanopticGrouping
from maskmill.postprocess.semantic import SemanticSegments, likeliest
from maskmill.postprocess.sliding_window import SlidingWindow
from maskmill.postprocess.views import Views
from maskmill.postprocess.whole_image import WholeImage, stack
from strategies import CATEGORIES

REACH = 3  # px: three convolutions of 3 x 3


class Tiny(nn.Module):
    """A fully convolutional Panoptic-DeepLab: every output pixel depends on what lies within REACH of it."""

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
    return Tiny().eval().requires_grad_(requires_grad=False)


def image(height, width, seed=0):
    """Blobs, so that segments have shapes."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, height // 8 + 2, width // 8 + 2, generator=generator)
    fine = nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
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


@pytest.mark.parametrize("size", [(97, 131), (64, 200), (40, 50), (200, 64), (33, 129)], ids=str)
@pytest.mark.parametrize("overlap", [0.3, 0.5, 0.75])
def test_with_a_margin_of_the_networks_reach_windows_give_what_the_whole_image_gives(
    network, size, overlap
):
    photo = image(*size)
    maps = SlidingWindow((64, 96), overlap=overlap, margin=REACH).maps(network, photo, batch_size=3)
    whole = network(stack([photo]))
    classes, confidence = likeliest(whole)
    assert torch.equal(maps["classes"], classes.to(torch.uint8))
    # a weighted mean of equal numbers rounds
    torch.testing.assert_close(maps["confidence"], confidence, rtol=1e-5, atol=1e-6)
    for name in ("center", "offset"):
        torch.testing.assert_close(maps[name], whole[name], rtol=1e-5, atol=1e-5)


def test_so_do_the_panoptic_segments(network):
    photos = [image(97, 131), image(150, 90, seed=1)]
    tiled = list(SlidingWindow((64, 64), margin=REACH)(network, grouping(), photos, 4))
    whole = list(WholeImage()(network, grouping(), photos, 4))
    for windows, one, photo in zip(tiled, whole, photos, strict=True):
        assert windows.panoptic.size == photo.shape[:2]
        assert len(one.panoptic.segments) > 5
        np.testing.assert_array_equal(windows.panoptic.ids, one.panoptic.ids)
        np.testing.assert_array_equal(windows.semantic, one.semantic)
        assert windows.panoptic.category_of == one.panoptic.category_of


def test_without_a_margin_they_agree_away_from_the_edges_of_windows(network):
    photo = image(64, 200)
    maps, whole = SlidingWindow((64, 64)).maps(network, photo, 1), network(stack([photo]))
    apart = (maps["center"] - whole["center"]).abs()[0, 0].amax(dim=0)  # of each column
    inner = torch.zeros(200, dtype=torch.bool)
    for edge in (32, 64, 96, 128, 160, 192):
        inner[edge - REACH : edge + REACH] = True
    assert apart[~inner].max() < 1e-6
    assert (
        1e-6 < apart[inner].max() < 1e-2
    )  # what lacks its surroundings weighs less than 1/1000 there


def coded(batch):
    """A network that reads its answer off the image: red is the class (200 a ball's centre), green and blue the offsets less 128."""
    red = batch[:, 0].long()
    classes = torch.where(red == 200, 2, red)
    offset = batch[:, 1:].float() - 128
    return {
        "semantic": 9 * nn.functional.one_hot(classes, 4).permute(0, 3, 1, 2).float(),
        "center": (red == 200).float()[:, None],
        "offset": offset,
    }


def ball(height, width, y0, x0, radius):
    photo = np.full((height, width, 3), (0, 128, 128), np.uint8)
    y, x = np.mgrid[:height, :width]
    inside = (y - y0) ** 2 + (x - x0) ** 2 <= radius**2
    photo[inside, 0] = 2
    photo[..., 1][inside], photo[..., 2][inside] = (y0 - y + 128)[inside], (x0 - x + 128)[inside]
    photo[y0, x0, 0] = 200
    return photo, inside


def test_an_instance_lying_across_four_windows_is_one_instance():
    photo, inside = ball(
        128, 128, 64, 64, 50
    )  # the windows of 64 px without overlap meet in its middle
    (prediction,) = SlidingWindow((64, 64), overlap=0.0)(coded, grouping(), [photo], 4)
    things = [
        segment
        for segment in prediction.panoptic.segments
        if CATEGORIES[segment.category_id].isthing
    ]
    assert len(things) == 1
    np.testing.assert_array_equal(prediction.panoptic.ids == things[0].id, inside)


def test_the_result_does_not_depend_on_how_many_windows_go_at_once(network):
    photo = image(97, 131)
    one, many = (
        next(SlidingWindow((64, 64))(network, grouping(), [photo], size)) for size in (1, 8)
    )
    np.testing.assert_array_equal(one.panoptic.ids, many.panoptic.ids)


def test_semantic_maps_of_windows_are_those_of_the_whole_image(network):
    photo = image(97, 131)
    segments = SemanticSegments(categories=CATEGORIES)
    (tiled,), (whole,) = (
        way(network, segments, [photo], 2)
        for way in (SlidingWindow((64, 64), margin=REACH), WholeImage())
    )
    np.testing.assert_array_equal(tiled.semantic, whole.semantic)
    assert [s.score for s in tiled.panoptic.segments] == pytest.approx(
        [s.score for s in whole.panoptic.segments], rel=1e-5
    )


def test_views_of_windows_are_averaged_too(network):
    photo = image(97, 131)
    seen = SlidingWindow((64, 64), margin=REACH, views=Views(vertical=True)).maps(network, photo, 2)
    whole = Views(vertical=True)(network)(stack([photo]))
    torch.testing.assert_close(seen["offset"], whole["offset"], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(seen["offset"], network(stack([photo]))["offset"], atol=1e-2)


def test_no_more_windows_at_once_than_asked(network):
    seen = []

    def watched(batch):
        seen.append(tuple(batch.shape))
        return network(batch)

    SlidingWindow((64, 64)).maps(
        watched, image(64, 300), 3
    )  # begins 0, 32 ... 256, the last 44 px wide
    assert seen == [(3, 3, 64, 64), (3, 3, 64, 64), (2, 3, 64, 64), (1, 3, 64, 44)]


def test_grouping_in_bands_of_rows_changes_nothing(network, monkeypatch):
    outputs = network(stack([image(97, 131)]))
    (whole,) = grouping()(outputs, [(97, 131)])
    for pixels in (131, 500, 5000):
        monkeypatch.setattr(panoptic_module, "MAX_PIXELS", pixels)
        (banded,) = grouping()(outputs, [(97, 131)])
        np.testing.assert_array_equal(banded.panoptic.ids, whole.panoptic.ids)
        assert [s.score for s in banded.panoptic.segments] == pytest.approx(
            [s.score for s in whole.panoptic.segments]
        )


def test_outputs_of_queries_are_refused():
    with pytest.raises(ValueError, match="inference=stitched_windows"):
        SlidingWindow((64, 64)).maps(
            lambda batch: {"masks": torch.zeros(len(batch), 9, 16, 16)}, image(64, 64), 1
        )


def test_production_needs_torch_and_numpy_alone():
    names = ("sliding_window", "stitched_windows", "whole_image")
    code = (
        f"import sys, {', '.join(f'maskmill.postprocess.{name}' for name in names)};"
        "found = {'timm', 'lightning', 'torchvision', 'torchmetrics', 'cv2', 'segmentation_models_pytorch'} & set(sys.modules);"
        "sys.exit(str(found) if found else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
