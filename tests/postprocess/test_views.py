import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from maskmill.postprocess.panoptic import PanopticGrouping
from maskmill.postprocess.torch_network import TorchNetwork, as_arrays
from maskmill.postprocess.views import Views, predict_view
from strategies import CATEGORIES


def random_images(height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (2, 3, height, width), generator=generator, dtype=torch.uint8)


def point_to_the_middle(images):
    """A network that commutes with flips and scales of the image.

    The class of a pixel is that of its colour, and every offset points to the middle of the image.
    """
    height, width = images.shape[-2:]
    dy = (height - 1) / 2 - torch.arange(height).float()
    dx = (width - 1) / 2 - torch.arange(width).float()
    offset = torch.stack(torch.meshgrid(dy, dx, indexing="ij"))  # (2, H, W)
    colours = images.float()
    center = torch.zeros_like(colours[:, :1])  # (B, 1, H, W)
    center[..., (height - 1) // 2 : height // 2 + 1, (width - 1) // 2 : width // 2 + 1] = 0.9
    return {
        "semantic": torch.cat([colours, 128 + 0 * center], dim=1),
        "center": center,
        "offset": offset.expand(len(images), -1, -1, -1),
    }


@pytest.mark.parametrize("flipped_axes", [(), (-1,), (-2,), (-2, -1)])
def test_a_flipped_view_gives_the_outputs_of_the_image(flipped_axes):
    images = random_images(9, 12)
    expected = point_to_the_middle(images)
    outputs = predict_view(point_to_the_middle, images, 1.0, flipped_axes)
    assert outputs.keys() == expected.keys()
    for name, value in outputs.items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("scale", [0.5, 2.0, 1.3])
def test_offsets_of_a_scaled_view_are_in_pixels_of_the_image(scale):
    images = random_images(40, 60)
    offset = predict_view(point_to_the_middle, images, scale, (-1,))["offset"]
    expected = point_to_the_middle(images)["offset"]
    # Bilinear interpolation is exact on a plane, except at the border, where it repeats values
    inner = (..., slice(3, -3), slice(3, -3))
    torch.testing.assert_close(offset[inner], expected[inner], rtol=0, atol=1e-4)


@given(seed=st.integers(0, 999), horizontal=st.booleans(), vertical=st.booleans())
@hypothesis_settings(deadline=None, max_examples=10)
def test_flips_do_not_change_the_segments(seed, horizontal, vertical):
    images = random_images(11, 14, seed)
    sizes = [(11, 14), (11, 14)]
    grouping = PanopticGrouping(
        threshold=0.1, nms_kernel=3, top_k=9, min_area_px=0, stuff_area_px=0, categories=CATEGORIES
    )
    views = Views(horizontal=horizontal, vertical=vertical)
    expected = grouping(as_arrays(point_to_the_middle(images)), sizes)
    averaged = grouping(views(TorchNetwork(point_to_the_middle))(images.numpy()), sizes)
    for index in range(2):
        np.testing.assert_array_equal(averaged[index].panoptic.ids, expected[index].panoptic.ids)


def test_the_mean_of_a_constant_is_the_constant():
    def constant(images):
        return {"semantic": torch.full((len(images), 4, *images.shape[-2:]), 0.7)}

    views = Views(scales=[0.5, 1.0, 1.7], horizontal=True, vertical=True)
    outputs = views.average(constant)(random_images(13, 17))
    torch.testing.assert_close(outputs["semantic"], torch.full((2, 4, 13, 17), 0.7))


@pytest.mark.parametrize(("horizontal", "expected"), [(True, 12), (False, 24)])
def test_flipped_views_are_averaged(horizontal, expected):
    def sum_of_left_half(images):
        left = images[..., : images.shape[-1] // 2].float().sum(dim=(1, 2, 3))
        return {"semantic": left.view(-1, 1, 1, 1).expand(-1, 1, *images.shape[-2:])}

    image = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    image[..., 0] = 4  # the left half sums to 24 in the image, and to 0 in its mirror image
    outputs = Views(horizontal=horizontal).average(sum_of_left_half)(image)
    assert outputs["semantic"].unique().tolist() == [expected]


def test_scaled_views_are_averaged():
    def width_of_view(images):
        width = images.shape[-1]
        return {"semantic": torch.full((1, 1, *images.shape[-2:]), float(width))}

    image = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    outputs = Views(scales=[1.0, 2.0], horizontal=False).average(width_of_view)(image)
    assert outputs["semantic"].unique().tolist() == [6]  # (4 + 8) / 2


def test_views_are_uint8_because_an_exported_program_accepts_nothing_else():
    dtypes = set()

    def network(images):
        dtypes.add(images.dtype)
        return {"semantic": images.float()}

    Views(scales=[0.7, 1.0]).average(network)(random_images(8, 8))
    assert dtypes == {torch.uint8}


def test_outputs_that_are_not_maps_raise_a_value_error():
    network = Views().average(lambda images: {"classes": torch.zeros(2, 100, 5)})
    message = (
        r"'classes' to be a map of 8 x 8 px, but got shape \(2, 100, 5\).* "
        "inference=stitched_windows"
    )
    with pytest.raises(ValueError, match=message):
        network(random_images(8, 8))


@pytest.mark.parametrize("scales", [[], [0.0], [1.0, -1.0]])
def test_scales_out_of_range_raise_a_value_error(build_from_config, scales):
    with pytest.raises(ValueError, match=r"node\.scales: expected .*, but got"):
        build_from_config("views.Views", scales=scales)
