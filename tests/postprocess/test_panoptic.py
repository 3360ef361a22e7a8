import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from maskmill.canonical.categories import Categories, Category
from maskmill.canonical.panoptic import Panoptic
from maskmill.losses.panoptic_deeplab import center_targets
from maskmill.postprocess import panoptic as module
from maskmill.postprocess.panoptic import PanopticGrouping
from strategies import CATEGORIES

GROUND, SKY, BALL, BOX = range(4)  # class indices of CATEGORIES, whose ids are 7, 0, 21 and 3
NUCLEI = Categories([Category(5, "nucleus", True, (220, 90, 20))])


def grouping(categories=CATEGORIES, **changes):
    settings = {
        "threshold": 0.1,
        "nms_kernel": 3,
        "top_k": 200,
        "min_area_px": 0,
        "stuff_area_px": 0,
    }
    return PanopticGrouping(**settings | changes, categories=categories)


def logits_of(classes, num_classes=4, confidence=0.9):
    one_hot = F.one_hot(torch.as_tensor(classes), num_classes).permute(2, 0, 1).float()
    return (one_hot * confidence + (1 - one_hot) * (1 - confidence) / (num_classes - 1)).log()


def drawn(classes, centers, offset=None, num_classes=4):
    """Outputs for one image: a class map, {(y, x): height} of the heatmap, and offsets, zero unless given."""
    logits = logits_of(classes, num_classes)
    center = torch.zeros(1, *logits.shape[1:])
    for (y, x), height in centers.items():
        center[0, y, x] = height
    offset = (
        torch.zeros(2, *logits.shape[1:])
        if offset is None
        else torch.as_tensor(offset, dtype=torch.float32)
    )
    return {"semantic": logits[None], "center": center[None], "offset": offset[None]}


def predict(made, outputs):
    height, width = outputs["semantic"].shape[2:]
    (pred,) = made(outputs, [(height, width)])
    return pred


ROW = [[BALL, BALL, GROUND, BALL, BALL, BALL]]
TWO = {(0, 0): 0.8, (0, 5): 0.5}


def test_a_thing_pixel_joins_the_nearest_centre_and_stuff_is_one_segment():
    pred = predict(grouping(), drawn(ROW, TWO))
    assert pred.panoptic.ids.tolist() == [
        [1, 1, 3, 2, 2, 2]
    ]  # the higher centre comes first, stuff after the things
    assert pred.panoptic.category_of == {1: 21, 2: 21, 3: 7}
    assert pred.semantic.tolist() == [[21, 21, 7, 21, 21, 21]]


def test_it_is_the_pixel_plus_its_offset_that_is_near():
    offset = np.zeros((2, 1, 6))
    offset[1, 0, 3] = -3  # dx: the ball's pixel at x = 3 points at x = 0
    pred = predict(grouping(), drawn(ROW, TWO, offset))
    assert pred.panoptic.ids.tolist() == [[1, 1, 3, 1, 2, 2]]


def test_scores_are_class_confidence_times_centre_height_and_for_stuff_the_confidence():
    pred = predict(grouping(), drawn(ROW, TWO))
    assert [segment.score for segment in pred.panoptic.segments] == pytest.approx(
        [0.9 * 0.8, 0.9 * 0.5, 0.9]
    )


def test_an_instance_has_the_class_most_of_its_pixels_have():
    pred = predict(grouping(), drawn([[BALL, BOX, BOX, GROUND]], {(0, 0): 0.9}))
    assert pred.panoptic.ids.tolist() == [[1, 1, 1, 2]]
    assert pred.panoptic.category_of == {1: 3, 2: 7}


def test_things_without_any_centre_are_void():
    pred = predict(grouping(), drawn(ROW, {(0, 0): 0.1}))  # not above the threshold
    assert pred.panoptic.ids.tolist() == [[0, 0, 1, 0, 0, 0]]


def test_segments_below_their_least_area_are_void():
    assert predict(grouping(min_area_px=3), drawn(ROW, TWO)).panoptic.ids.tolist() == [
        [0, 0, 2, 1, 1, 1]
    ]
    assert predict(grouping(stuff_area_px=2), drawn(ROW, TWO)).panoptic.ids.tolist() == [
        [1, 1, 0, 2, 2, 2]
    ]


def test_a_lower_centre_within_the_window_of_a_higher_one_is_none():
    near = {(0, 1): 0.8, (0, 2): 0.5}
    assert len(predict(grouping(), drawn([[BALL] * 6], near)).panoptic.segments) == 1
    assert len(predict(grouping(nms_kernel=1), drawn([[BALL] * 6], near)).panoptic.segments) == 2


def test_only_the_highest_centres_up_to_top_k_count():
    pred = predict(grouping(top_k=1), drawn(ROW, TWO))
    assert pred.panoptic.ids.tolist() == [[1, 1, 2, 1, 1, 1]]


def test_without_stuff_everything_but_things_is_void():
    pred = predict(grouping(keep_stuff=False), drawn(ROW, TWO))
    assert pred.panoptic.ids.tolist() == [[1, 1, 0, 2, 2, 2]]
    assert pred.semantic.tolist() == [[21, 21, 7, 21, 21, 21]]


def test_background_of_a_table_of_things_is_void():
    pred = predict(
        grouping(NUCLEI), drawn([[0, 0, 1, 0]], {(0, 0): 0.9, (0, 3): 0.9}, num_classes=2)
    )
    assert pred.panoptic.ids.tolist() == [[1, 1, 0, 2]]
    assert pred.semantic.tolist() == [[5, 5, -1, 5]]


def test_an_image_without_any_segment_is_all_void():
    pred = predict(grouping(NUCLEI), drawn([[1, 1]], {}, num_classes=2))
    assert pred.panoptic.segments == ()
    assert pred.panoptic.ids.tolist() == [[0, 0]]


def test_a_peak_several_pixels_wide_is_one_centre():
    plateau = {(1, 1): 0.5, (1, 2): 0.5, (2, 1): 0.5, (2, 2): 0.5}
    assert predict(grouping(), drawn([[BALL] * 5] * 5, plateau)).panoptic.ids.max() == 1


def test_rounding_to_bfloat16_does_not_split_an_instance():
    # bilinear upsampling in eight bits makes neighbours of the highest pixel as high as it, in a third of such bells
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    for shift in np.random.default_rng(0).uniform(5, 11, size=(40, 2)):
        bell = 0.8 * torch.exp(-((y - shift[0]) ** 2 + (x - shift[1]) ** 2) / 8)
        center = F.interpolate(
            bell[None, None].bfloat16(), scale_factor=4, mode="bilinear", align_corners=False
        )
        outputs = drawn([[BALL] * 64] * 64, {}) | {"center": center}
        assert predict(grouping(nms_kernel=7), outputs).panoptic.ids.max() == 1


def random_outputs(seed, size=(13, 17), num_classes=4):
    """Noise: heights and offsets without ties, so that every rule is used and none is a matter of order."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    return {
        "semantic": 2 * torch.randn(1, num_classes, height, width, generator=generator),
        "center": torch.rand(1, 1, height, width, generator=generator),
        "offset": 4 * torch.randn(1, 2, height, width, generator=generator),
    }


def slow_grouping(outputs, *, threshold, nms_kernel, top_k, min_area_px, stuff_area_px):
    """Sec. 3.3 pixel by pixel."""
    probs = outputs["semantic"][0].softmax(dim=0).numpy()
    center, offset = outputs["center"][0, 0].numpy(), outputs["offset"][0].numpy()
    height, width = center.shape
    classes, reach = probs.argmax(axis=0), nms_kernel // 2
    peaks = []
    for y, x in np.ndindex(height, width):
        window = center[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
        if center[y, x] > threshold and center[y, x] == window.max():
            peaks.append((center[y, x], y, x))
    peaks = sorted(peaks, reverse=True)[:top_k]
    members = {place: [] for place in range(len(peaks))}
    stuff = {GROUND: [], SKY: []}
    for y, x in np.ndindex(height, width):
        if classes[y, x] in stuff:
            stuff[classes[y, x]].append((y, x))
        elif peaks:
            point = (y + offset[0, y, x], x + offset[1, y, x])
            distances = [(point[0] - peak[1]) ** 2 + (point[1] - peak[2]) ** 2 for peak in peaks]
            members[int(np.argmin(distances))].append((y, x))
    ids, category_of = np.zeros((height, width), np.int32), {}
    for pixels in members.values():
        if len(pixels) >= max(1, min_area_px):
            number = len(category_of) + 1
            votes = [sum(classes[pixel] == index for pixel in pixels) for index in range(4)]
            category_of[number] = int(CATEGORIES.ids[int(np.argmax(votes))])
            ids[tuple(np.transpose(pixels))] = number
    for index, pixels in stuff.items():
        if len(pixels) >= max(1, stuff_area_px):
            number = len(category_of) + 1
            category_of[number] = int(CATEGORIES.ids[index])
            ids[tuple(np.transpose(pixels))] = number
    return Panoptic.from_ids(ids, category_of)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 10_000),
    threshold=st.sampled_from([0.0, 0.5, 0.99, 1.0]),
    nms_kernel=st.sampled_from([1, 3, 7]),
    top_k=st.sampled_from([1, 3, 200]),
    min_area_px=st.sampled_from([0, 5]),
    stuff_area_px=st.sampled_from([0, 60]),
)
def test_it_groups_as_the_definition_does(seed, **values):
    outputs = random_outputs(seed)
    pred, slow = predict(grouping(**values), outputs), slow_grouping(outputs, **values)
    np.testing.assert_array_equal(pred.panoptic.ids, slow.ids)
    assert pred.panoptic.category_of == slow.category_of


@given(seed=st.integers(0, 10_000), axis=st.sampled_from([0, 1]))
@settings(deadline=None, max_examples=20)
def test_flipping_the_outputs_flips_the_segments(seed, axis):
    outputs, sign = random_outputs(seed), torch.ones(1, 2, 1, 1)
    sign[0, axis] = -1  # an offset along the flipped axis points the other way
    flipped = {name: value.flip(2 + axis) for name, value in outputs.items()}
    flipped["offset"] = flipped["offset"] * sign
    straight, back = predict(grouping(), outputs).panoptic, predict(grouping(), flipped).panoptic
    np.testing.assert_array_equal(np.flip(back.ids, axis), straight.ids)


def test_grouping_in_small_pieces_changes_nothing(monkeypatch):
    outputs = random_outputs(0)
    whole = predict(grouping(), outputs).panoptic
    monkeypatch.setattr(module, "MAX_DISTANCES", 100)
    np.testing.assert_array_equal(predict(grouping(), outputs).panoptic.ids, whole.ids)


def test_far_from_the_origin_the_nearest_centre_is_still_found():
    # at 30,000 px squares are near 1e9, where float32 rounds to 64: the difference of 1 between 10**2 and 101 would be lost
    peaks = torch.tensor([[30_000, 30_000], [30_020, 30_001]])
    points = torch.tensor([[30_010.0, 30_000.0], [30_010.0, 30_001.0]])
    assert module._nearest(points, peaks).tolist() == [0, 1]


def test_padding_of_a_batch_changes_nothing():
    outputs = random_outputs(1)
    padded = {name: F.pad(value, (0, 9, 0, 5), value=3.0) for name, value in outputs.items()}
    (pred,) = grouping()(padded, [(13, 17)])
    np.testing.assert_array_equal(pred.panoptic.ids, predict(grouping(), outputs).panoptic.ids)


def test_the_targets_of_a_scene_group_back_into_it():
    ids = np.zeros((40, 60), np.int32)
    ids[5:15, 5:25], ids[10:30, 30:40], ids[20:38, 4:20] = 1, 2, 3
    truth = Panoptic.from_ids(np.where(ids == 0, 4, ids), {1: 21, 2: 3, 3: 21, 4: 7})
    classes = np.array([GROUND, BALL, BOX, BALL])[ids]
    targets = center_targets(torch.from_numpy(ids)[None], sigma_px=3.0)
    outputs = {
        "semantic": logits_of(classes)[None],
        "center": targets.heatmap,
        "offset": targets.offset,
    }
    pred = predict(grouping(nms_kernel=7), outputs).panoptic
    assert sorted((s.category_id, s.area, s.bbox) for s in pred.segments) == sorted(
        (s.category_id, s.area, s.bbox) for s in truth.segments
    )


@pytest.mark.parametrize(
    "values",
    [
        {"threshold": 1.5},
        {"nms_kernel": 4},
        {"nms_kernel": 0},
        {"top_k": 0},
        {"min_area_px": -1},
        {"stuff_area_px": -1},
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(values):
    with pytest.raises(ValueError, match=r"Expected .* but got .* mend"):
        grouping(**values)


def test_production_needs_torch_and_numpy_alone():
    code = (
        "import sys, maskmill.postprocess.panoptic, maskmill.postprocess.semantic;"
        "found = {'timm', 'lightning', 'torchvision', 'torchmetrics', 'cv2', 'segmentation_models_pytorch'} & set(sys.modules);"
        "sys.exit(str(found) if found else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.gpu
def test_a_gpu_groups_alike():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    outputs = random_outputs(2)
    there = predict(grouping(), {name: value.cuda() for name, value in outputs.items()})
    np.testing.assert_array_equal(there.panoptic.ids, predict(grouping(), outputs).panoptic.ids)
