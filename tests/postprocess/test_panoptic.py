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
from maskmill.postprocess.torch_network import as_arrays
from strategies import CATEGORIES

GROUND, SKY, BALL, BOX = range(4)  # class indices; their category ids are 7, 0, 21 and 3
STUFF = [GROUND, SKY]
NUCLEI = Categories([Category(5, "nucleus", True, (220, 90, 20))])
SETTINGS = {
    "threshold": 0.1,
    "nms_kernel": 3,
    "top_k": 200,
    "min_area_px": 0,
    "stuff_area_px": 0,
}


def logits_of(classes, num_classes=4, confidence=0.9):
    """Logits (K, H, W) whose softmax is `confidence` for the given class."""
    one_hot = F.one_hot(torch.as_tensor(classes), num_classes).permute(2, 0, 1).float()
    others = (1 - confidence) / (num_classes - 1)
    return (one_hot * confidence + (1 - one_hot) * others).log()


def outputs_of(classes, heights, num_classes=4):
    """Outputs for one image: class indices, {(y, x): height} of the heatmap, and zero offsets."""
    semantic = logits_of(classes, num_classes)[None]
    center = torch.zeros(1, 1, *semantic.shape[2:])
    for (y, x), height in heights.items():
        center[0, 0, y, x] = height
    offset = torch.zeros(1, 2, *semantic.shape[2:])
    return {"semantic": semantic, "center": center, "offset": offset}


def predict(outputs, categories=CATEGORIES, **changes):
    height, width = outputs["semantic"].shape[2:]
    grouping = PanopticGrouping(**SETTINGS | changes, categories=categories)
    (pred,) = grouping(as_arrays(outputs), [(height, width)])
    return pred


ROW = [[BALL, BALL, GROUND, BALL, BALL, BALL]]
TWO_CENTRES = {(0, 0): 0.8, (0, 5): 0.5}


def test_a_thing_pixel_is_assigned_to_the_nearest_centre_and_stuff_is_one_segment():
    pred = predict(outputs_of(ROW, TWO_CENTRES))
    # the highest centre comes first, and stuff after the things
    assert pred.panoptic.ids.tolist() == [[1, 1, 3, 2, 2, 2]]
    assert pred.panoptic.category_of == {1: 21, 2: 21, 3: 7}
    assert pred.semantic.tolist() == [[21, 21, 7, 21, 21, 21]]


def test_the_nearest_centre_is_that_of_the_pixel_plus_its_offset():
    outputs = outputs_of(ROW, TWO_CENTRES)
    outputs["offset"][0, 1, 0, 3] = -3  # dx: the pixel at x = 3 points to x = 0
    assert predict(outputs).panoptic.ids.tolist() == [[1, 1, 3, 1, 2, 2]]


def test_a_score_is_the_mean_confidence_whatever_the_height_of_the_centre():
    pred = predict(outputs_of(ROW, TWO_CENTRES))
    scores = [segment.score for segment in pred.panoptic.segments]
    assert scores == pytest.approx([0.9, 0.9, 0.9])


def test_an_instance_has_the_class_of_most_of_its_pixels_and_the_others_lower_its_score():
    pred = predict(outputs_of([[BALL, BOX, BOX, GROUND]], {(0, 0): 0.9}))
    assert pred.panoptic.ids.tolist() == [[1, 1, 1, 2]]
    assert pred.panoptic.category_of == {1: 3, 2: 7}
    box, _ = pred.panoptic.segments
    assert box.score == pytest.approx((0.9 + 0.9 + 0) / 3)  # the ball's pixel counts as 0


def test_things_without_a_centre_are_void():
    pred = predict(outputs_of(ROW, {(0, 0): 0.1}))  # not above the threshold
    assert pred.panoptic.ids.tolist() == [[0, 0, 1, 0, 0, 0]]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [({"min_area_px": 3}, [[0, 0, 2, 1, 1, 1]]), ({"stuff_area_px": 2}, [[1, 1, 0, 2, 2, 2]])],
    ids=str,
)
def test_segments_below_their_minimum_area_are_void(limit, expected):
    pred = predict(outputs_of(ROW, TWO_CENTRES), **limit)
    assert pred.panoptic.ids.tolist() == expected


@pytest.mark.parametrize(("nms_kernel", "num_segments"), [(3, 1), (1, 2)])
def test_a_peak_within_the_window_of_a_higher_peak_is_not_a_centre(nms_kernel, num_segments):
    outputs = outputs_of([[BALL] * 6], {(0, 1): 0.8, (0, 2): 0.5})
    pred = predict(outputs, nms_kernel=nms_kernel)
    assert len(pred.panoptic.segments) == num_segments


def test_only_the_top_k_centres_count():
    pred = predict(outputs_of(ROW, TWO_CENTRES), top_k=1)
    assert pred.panoptic.ids.tolist() == [[1, 1, 2, 1, 1, 1]]


def test_without_stuff_all_other_pixels_are_void():
    pred = predict(outputs_of(ROW, TWO_CENTRES), keep_stuff=False)
    assert pred.panoptic.ids.tolist() == [[1, 1, 0, 2, 2, 2]]
    assert pred.semantic.tolist() == [[21, 21, 7, 21, 21, 21]]


def test_background_is_void():
    outputs = outputs_of([[0, 0, 1, 0]], {(0, 0): 0.9, (0, 3): 0.9}, num_classes=2)
    pred = predict(outputs, NUCLEI)
    assert pred.panoptic.ids.tolist() == [[1, 1, 0, 2]]
    assert pred.semantic.tolist() == [[5, 5, -1, 5]]


def test_an_image_without_segments_is_void():
    pred = predict(outputs_of([[1, 1]], {}, num_classes=2), NUCLEI)
    assert pred.panoptic.segments == ()
    assert pred.panoptic.ids.tolist() == [[0, 0]]


def test_a_peak_of_several_pixels_is_one_centre():
    plateau = {(1, 1): 0.5, (1, 2): 0.5, (2, 1): 0.5, (2, 2): 0.5}
    assert predict(outputs_of([[BALL] * 5] * 5, plateau)).panoptic.ids.max() == 1


def test_rounding_to_bfloat16_does_not_split_an_instance():
    # Bilinear upsampling in eight bits gives neighbours of the peak its height, for a third of
    # these Gaussians
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    outputs = outputs_of([[BALL] * 64] * 64, {})
    for centre_y, centre_x in np.random.default_rng(0).uniform(5, 11, size=(40, 2)):
        squared_distance = (y - centre_y) ** 2 + (x - centre_x) ** 2
        gaussian = (0.8 * torch.exp(-squared_distance / 8))[None, None].bfloat16()
        outputs["center"] = F.interpolate(
            gaussian, scale_factor=4, mode="bilinear", align_corners=False
        )
        assert predict(outputs, nms_kernel=7).panoptic.ids.max() == 1


def random_outputs(seed, size=(13, 17)):
    """Noise: heights and offsets without ties, so that the result does not depend on any order."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "semantic": 2 * torch.randn(1, 4, *size, generator=generator),
        "center": torch.rand(1, 1, *size, generator=generator),
        "offset": 4 * torch.randn(1, 2, *size, generator=generator),
    }


def slow_peaks(center, *, threshold, nms_kernel, top_k):
    reach = nms_kernel // 2
    peaks = []
    for y, x in np.ndindex(center.shape):
        window = center[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
        if center[y, x] > threshold and center[y, x] == window.max():
            peaks.append((center[y, x], y, x))
    return sorted(peaks, reverse=True)[:top_k]


def slow_grouping(outputs, *, min_area_px, stuff_area_px, **peak_settings):
    """Sec. 3.3 pixel by pixel."""
    probs = outputs["semantic"][0].softmax(dim=0).numpy()
    offset = outputs["offset"][0].numpy()
    classes = probs.argmax(axis=0)
    peaks = slow_peaks(outputs["center"][0, 0].numpy(), **peak_settings)
    things = [[] for _ in peaks]
    stuff = {index: [] for index in STUFF}
    for y, x in np.ndindex(classes.shape):
        if classes[y, x] in stuff:
            stuff[classes[y, x]].append((y, x))
        elif peaks:
            point_y = y + offset[0, y, x]
            point_x = x + offset[1, y, x]
            distances = [(point_y - peak[1]) ** 2 + (point_x - peak[2]) ** 2 for peak in peaks]
            things[np.argmin(distances)].append((y, x))
    segments = []  # class index and pixels
    for pixels in things:
        if len(pixels) >= max(1, min_area_px):
            votes = np.bincount([classes[pixel] for pixel in pixels])
            segments.append((np.argmax(votes), pixels))
    for class_index, pixels in stuff.items():
        if len(pixels) >= max(1, stuff_area_px):
            segments.append((class_index, pixels))
    ids = np.zeros(classes.shape, np.int32)
    category_of = {}
    for segment_id, (class_index, pixels) in enumerate(segments, start=1):
        ids[tuple(np.transpose(pixels))] = segment_id
        category_of[segment_id] = int(CATEGORIES.ids[class_index])
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
def test_it_groups_like_the_definition(seed, **values):
    outputs = random_outputs(seed)
    pred = predict(outputs, **values).panoptic
    expected = slow_grouping(outputs, **values)
    np.testing.assert_array_equal(pred.ids, expected.ids)
    assert pred.category_of == expected.category_of


@given(seed=st.integers(0, 10_000), axis=st.sampled_from([0, 1]))
@settings(deadline=None, max_examples=20)
def test_flipping_the_outputs_flips_the_segments(seed, axis):
    outputs = random_outputs(seed)
    flipped = {name: value.flip(2 + axis) for name, value in outputs.items()}
    flipped["offset"][:, axis] *= -1
    expected = predict(outputs).panoptic.ids
    np.testing.assert_array_equal(np.flip(predict(flipped).panoptic.ids, axis), expected)


def test_grouping_in_small_chunks_does_not_change_the_result(monkeypatch):
    outputs = random_outputs(0)
    expected = predict(outputs).panoptic.ids
    monkeypatch.setattr(module, "MAX_DISTANCES", 100)
    np.testing.assert_array_equal(predict(outputs).panoptic.ids, expected)


def test_the_nearest_centre_is_exact_far_from_the_origin():
    # At 30,000 px squares are near 1e9, where float32 rounds to 64. It would not resolve the
    # difference between the squared distances 10**2 and 101.
    peaks = np.array([[30_000, 30_000], [30_020, 30_001]])
    points = np.array([[30_010.0, 30_000.0], [30_010.0, 30_001.0]])
    assert module._find_nearest(points, peaks).tolist() == [0, 1]


@given(seed=st.integers(0, 10_000), num_peaks=st.integers(1, 40))
@settings(deadline=None, max_examples=30)
def test_squares_with_one_nearest_centre_do_not_change_the_result(seed, num_peaks):
    random = np.random.default_rng(seed)
    size = (70, 90)
    peaks = random.integers(0, size, (num_peaks, 2))
    points = random.normal(np.divide(size, 2), 30, (3000, 2))  # some are outside the image
    points[:1500] = points[:1500].round()  # equal distances
    points[0] = [np.nan, np.inf]
    squares = module._find_nearest_of_squares(peaks, size)
    expected = module._find_nearest(points, peaks)
    np.testing.assert_array_equal(module._look_up_nearest(points, peaks, squares), expected)


def slow_first_peaks(center, threshold, reach):
    """Positions of the highest pixels of their windows without an earlier one in their window."""
    padded = np.pad(center, reach, constant_values=-1)
    highest = []
    for y, x in np.ndindex(center.shape):
        window = padded[y : y + 2 * reach + 1, x : x + 2 * reach + 1]
        if center[y, x] > threshold and center[y, x] == window.max():
            highest.append((y, x))
    peaks = []
    for index, (y, x) in enumerate(highest):
        earlier = highest[:index]
        if not any(max(abs(y - other[0]), abs(x - other[1])) <= reach for other in earlier):
            peaks.append((y, x))
    return sorted(peaks, key=lambda peak: -center[peak])  # stable: in the order of rows


@given(
    seed=st.integers(0, 10_000),
    reach=st.sampled_from([0, 1, 2]),
    max_pixels=st.sampled_from([1, 60, 2**21]),
)
@settings(deadline=None, max_examples=60)
def test_the_first_of_equal_peaks_is_the_centre(seed, reach, max_pixels):
    center = np.random.default_rng(seed).integers(0, 4, (11, 13)).astype(np.float32) / 4
    grouping = PanopticGrouping(
        **SETTINGS | {"threshold": 0.3, "nms_kernel": 2 * reach + 1}, categories=CATEGORIES
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_PIXELS", max_pixels)
        positions = grouping._find_peaks(center)
    expected = slow_first_peaks(center, 0.3, reach)
    assert list(map(tuple, positions.tolist())) == expected


def test_padding_of_a_batch_does_not_change_the_result():
    outputs = random_outputs(1)
    padded = {name: F.pad(value, (0, 9, 0, 5), value=3.0) for name, value in outputs.items()}
    grouping = PanopticGrouping(**SETTINGS, categories=CATEGORIES)
    (pred,) = grouping(as_arrays(padded), [(13, 17)])
    np.testing.assert_array_equal(pred.panoptic.ids, predict(outputs).panoptic.ids)


def test_the_training_targets_of_a_scene_give_back_its_segments():
    ids = np.zeros((40, 60), np.int32)
    ids[5:15, 5:25] = 1
    ids[10:30, 30:40] = 2
    ids[20:38, 4:20] = 3
    classes = np.array([GROUND, BALL, BOX, BALL])[ids]
    targets = center_targets(torch.from_numpy(ids)[None], sigma_px=3.0)
    outputs = {
        "semantic": logits_of(classes)[None],
        "center": targets.heatmap,
        "offset": targets.offset,
    }
    pred = predict(outputs, nms_kernel=7).panoptic
    target = Panoptic.from_ids(np.where(ids == 0, 4, ids), {1: 21, 2: 3, 3: 21, 4: 7})
    assert sorted_segments(pred) == sorted_segments(target)


def sorted_segments(panoptic):
    segments = panoptic.segments
    return sorted((segment.category_id, segment.area, segment.bbox) for segment in segments)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("threshold", 1.5),
        ("nms_kernel", 0),
        ("top_k", 0),
        ("min_area_px", -1),
        ("stuff_area_px", -1),
    ],
)
def test_values_out_of_range_raise_a_value_error(build_from_config, argument, value):
    values = SETTINGS | {argument: value}
    with pytest.raises(ValueError, match=rf"node\.{argument}: expected .* but got {value} .*equal"):
        build_from_config("panoptic.PanopticGrouping", with_categories=True, **values)


def test_an_even_window_raises_a_value_error():
    with pytest.raises(ValueError, match="Expected an odd `nms_kernel`, but got 4"):
        PanopticGrouping(**SETTINGS | {"nms_kernel": 4}, categories=CATEGORIES)


@pytest.mark.slow
def test_grouping_imports_no_torch():
    code = """
import sys
import maskmill.postprocess.panoptic, maskmill.postprocess.semantic
imported = {"torch", "scipy"} & set(sys.modules)
sys.exit(str(imported) if imported else 0)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.gpu
def test_a_gpu_gives_the_same_segments():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    outputs = random_outputs(2)
    on_gpu = predict({name: value.cuda() for name, value in outputs.items()})
    np.testing.assert_array_equal(on_gpu.panoptic.ids, predict(outputs).panoptic.ids)
