import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch.nn import functional as F

from maskmill.postprocess.panoptic import PanopticGrouping
from maskmill.postprocess.views import Views, seen
from strategies import CATEGORIES


def images(height, width, seed=0):
    return torch.randint(
        256, (2, 3, height, width), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )


def pointing_home(batch):
    """Every pixel points at the middle of the image; the class is that of its colour. Turning or scaling the image turns or scales this."""
    height, width = batch.shape[-2:]
    y, x = torch.arange(height).float(), torch.arange(width).float()
    offset = torch.stack(torch.meshgrid((height - 1) / 2 - y, (width - 1) / 2 - x, indexing="ij"))
    colours = batch.float()
    center = torch.zeros_like(colours[:, :1])
    center[..., (height - 1) // 2 : height // 2 + 1, (width - 1) // 2 : width // 2 + 1] = 0.9
    return {
        "semantic": torch.cat([colours, 128 + 0 * center], dim=1),
        "center": center,
        "offset": offset.expand(len(batch), -1, -1, -1),
    }


@pytest.mark.parametrize("axes", [(), (-1,), (-2,), (-2, -1)])
def test_a_flipped_view_says_the_same_and_its_offsets_turn(axes):
    batch = images(9, 12)
    plain = pointing_home(batch)
    for name, value in seen(pointing_home, batch, 1.0, axes).items():
        assert torch.equal(value, plain[name]), name


@pytest.mark.parametrize("scale", [0.5, 2.0, 1.3])
def test_offsets_of_a_scaled_view_are_in_pixels_of_the_image(scale):
    batch = images(40, 60)
    view = seen(pointing_home, batch, scale, (-1,))["offset"]
    # a bilinear map is exact on a plane, but for the rim, where it repeats the last value
    torch.testing.assert_close(
        view[..., 3:-3, 3:-3], pointing_home(batch)["offset"][..., 3:-3, 3:-3], rtol=0, atol=1e-4
    )


@given(seed=st.integers(0, 999), horizontal=st.booleans(), vertical=st.booleans())
@hypothesis_settings(deadline=None, max_examples=10)
def test_flip_then_postprocess_then_flip_back_is_postprocess(seed, horizontal, vertical):
    batch = images(11, 14, seed)
    grouping = PanopticGrouping(
        threshold=0.1, nms_kernel=3, top_k=9, min_area_px=0, stuff_area_px=0, categories=CATEGORIES
    )
    views = Views(horizontal=horizontal, vertical=vertical)(pointing_home)
    for one, mean in zip(
        grouping(pointing_home(batch), [(11, 14)] * 2),
        grouping(views(batch), [(11, 14)] * 2),
        strict=True,
    ):
        np.testing.assert_array_equal(mean.panoptic.ids, one.panoptic.ids)


def test_the_mean_of_a_constant_is_the_constant():
    def constant(batch):
        return {"semantic": torch.full((len(batch), 4, *batch.shape[-2:]), 0.7)}

    outputs = Views(scales=[0.5, 1.0, 1.7], horizontal=True, vertical=True)(constant)(
        images(13, 17)
    )
    torch.testing.assert_close(outputs["semantic"], torch.full((2, 4, 13, 17), 0.7))


def test_it_is_the_mean_over_scales_and_flips():
    def sums(batch):  # the sum of each image's left half: what only the view decides
        left = batch[..., : batch.shape[-1] // 2].float().sum(dim=(1, 2, 3))
        return {"semantic": left.view(-1, 1, 1, 1).expand(-1, 1, *batch.shape[-2:])}

    batch = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    batch[..., 0] = 4
    assert Views(horizontal=True)(sums)(batch)["semantic"].unique().tolist() == [12]  # 24 and 0
    assert Views(horizontal=False)(sums)(batch)["semantic"].unique().tolist() == [24]
    assert (
        Views(scales=[1.0, 2.0], horizontal=False)(sums)(F.pad(batch, (0, 2, 0, 2)))["semantic"]
        .unique()
        .numel()
        == 1
    )


def test_views_are_bytes_as_the_images_are_since_a_program_takes_nothing_else():
    types = set()

    def network(batch):
        types.add(batch.dtype)
        return {"semantic": batch.float()}

    Views(scales=[0.7, 1.0])(network)(images(8, 8))
    assert types == {torch.uint8}


def test_outputs_that_are_no_maps_are_refused():
    with pytest.raises(
        ValueError,
        match=r"'classes' to be a map of 8 x 8 px, but got shape \(2, 100, 5\).* inference=stitched_windows",
    ):
        Views()(lambda batch: {"classes": torch.zeros(2, 100, 5)})(images(8, 8))


@pytest.mark.parametrize("scales", [[], [0.0], [1.0, -1.0]])
def test_scales_out_of_range_are_refused(scales):
    with pytest.raises(ValueError, match="factor above 0, but got"):
        Views(scales=scales)
