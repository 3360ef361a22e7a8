"""Confusion matrix: counted by hand, and against a naive loop over pixels."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskmill.canonical.categories import Categories, Category
from maskmill.metrics import ConfusionMatrix
from maskmill.metrics.functional.confusion_matrix import (
    class_areas,
    class_map,
    confusion_matrix,
    index_confusion,
    intersection_over_union,
    semantic_scores,
)
from strategies import CATEGORIES, panoptics, sizes

SEA, SAND, BIRD = 9, 0, 4  # ids in no order, and 0 a real class
BEACH = Categories(
    [
        Category(SEA, "sea", False, (0, 0, 200)),
        Category(SAND, "sand", False, (200, 200, 0)),
        Category(BIRD, "bird", True, (9, 9, 9)),
    ]
)
LETTERS = {"W": SEA, "S": SAND, "B": BIRD, ".": -1}


def strip(text):
    return np.array([[LETTERS[letter] for letter in text]], np.int32)


def iou(pred, target, *, background=False):
    return intersection_over_union(
        *class_areas(confusion_matrix(strip(pred), strip(target), BEACH), background=background)
    ).tolist()


def scores(pred, target, *, background=False):
    return semantic_scores(
        confusion_matrix(strip(pred), strip(target), BEACH), background=background
    )


def test_targets_are_in_rows_and_predictions_in_columns():
    matrix = confusion_matrix(strip("WWSB.."), strip("WSSB.W"), BEACH)
    assert matrix.tolist() == [
        [1, 0, 0, 1],  # sea: one right, one not predicted
        [1, 1, 0, 0],  # sand: one taken for sea
        [0, 0, 1, 0],
        [0, 0, 0, 1],  # unlabelled, and nothing predicted there
    ]


def test_iou_equals_the_count_by_hand():
    # sea: 2 right of 2 true and 1 more; sand: 2 right of 3 true
    assert iou("WWWSSB", "WWSSSB") == [2 / 3, 2 / 3, 1]
    assert scores("WWWSSB", "WWSSSB") == {
        "mIoU": pytest.approx(7 / 9),
        "Dice": pytest.approx((4 / 5 + 4 / 5 + 1) / 3),  # sea: 2 x 2 of 2 + 3; sand: 2 x 2 of 3 + 2
        "fwIoU": pytest.approx((2 * 2 / 3 + 3 * 2 / 3 + 1) / 6),
        "pixel_accuracy": pytest.approx(5 / 6),
    }


def test_a_class_that_occurs_nowhere_is_nan_and_left_out_of_the_mean():
    assert iou("WWS", "WSS") == [0.5, 0.5, pytest.approx(math.nan, nan_ok=True)]
    assert scores("WWS", "WSS")["mIoU"] == 0.5


def test_a_class_only_predicted_counts_as_zero():
    assert iou("WB", "WS") == [1, 0, 0]


def test_a_prediction_on_void_is_neither_right_nor_wrong():
    assert iou("WWSS", "W..S") == [1, 1, pytest.approx(math.nan, nan_ok=True)]
    assert scores("WWSS", "W..S")["pixel_accuracy"] == 1


def test_a_class_predicted_on_void_alone_does_not_occur():
    assert scores("WB", "W.")["mIoU"] == 1


def test_a_prediction_on_background_is_wrong():
    assert iou("WWSS", "W..S", background=True) == [0.5, 0.5, pytest.approx(math.nan, nan_ok=True)]


def test_background_left_free_is_right():
    assert (
        scores("W...", "W..S", background=True)["pixel_accuracy"] == 3 / 4
    )  # and not 1/2, as over the labelled pixels


def test_pixels_without_a_prediction_are_wrong():
    assert iou("W..S", "WWSS") == [0.5, 0.5, pytest.approx(math.nan, nan_ok=True)]
    assert scores("W..S", "WWSS")["pixel_accuracy"] == 0.5


def test_an_unlabelled_ground_truth_has_no_scores():
    assert all(math.isnan(value) for value in scores("WWS", "...").values())


@pytest.mark.parametrize("unknown", [5, 255, 70000, -2])
@pytest.mark.parametrize("side", ["prediction", "target"])
def test_an_id_that_is_no_category_is_refused(unknown, side):
    good, bad = strip("WS"), np.array([[SEA, unknown]], np.int32)
    pair = (bad, good) if side == "prediction" else (good, bad)
    with pytest.raises(
        ValueError, match=rf"category ids of the table, but got \[{unknown}\] - either correct"
    ):
        confusion_matrix(*pair, BEACH)


@pytest.mark.parametrize("unknown", [5, 255, 70000, -2])
def test_a_class_map_with_an_id_that_is_no_category_is_refused(unknown):
    with pytest.raises(ValueError, match=rf"category ids of the table, but got \[{unknown}\]"):
        class_map(np.array([[SEA, unknown]], np.int32), BEACH)


def test_maps_of_two_sizes_are_refused():
    with pytest.raises(
        ValueError, match=r"size \(1, 3\), but got \(1, 2\) - predict at the original size"
    ):
        confusion_matrix(strip("WS"), strip("WSS"), BEACH)


@st.composite
def pairs(draw):
    """Two class maps of one size."""
    shape = st.just(draw(sizes))
    return draw(panoptics(sizes=shape)).category_map(), draw(panoptics(sizes=shape)).category_map()


@given(pairs(), st.booleans())
def test_iou_equals_a_loop_over_pixels(pair, background):
    pred, target = pair
    expected = []
    for category in CATEGORIES:
        both = either = 0
        for predicted, true in zip(pred.flatten().tolist(), target.flatten().tolist(), strict=True):
            if true == -1 and not background:
                continue
            both += predicted == true == category.id
            either += category.id in (predicted, true)
        expected.append(both / either if either else math.nan)
    matrix = confusion_matrix(pred, target, CATEGORIES)
    got = intersection_over_union(*class_areas(matrix, background=background))
    assert np.array_equal(got, expected, equal_nan=True)
    mean = np.nanmean(expected) if not np.isnan(expected).all() else math.nan
    assert semantic_scores(matrix, background=background)["mIoU"] == pytest.approx(
        mean, abs=1e-15, nan_ok=True
    )


@given(pairs(), st.sampled_from([-1, len(CATEGORIES), 255]))
def test_maps_of_class_indices_are_counted_as_those_of_category_ids(pair, void):
    table = {-1: void} | CATEGORIES.index
    pred, target = (np.vectorize(table.get, otypes=[np.int64])(labels) for labels in pair)
    dtype = np.int64 if void == -1 else np.uint8
    matrix = index_confusion(pred.astype(dtype), target.astype(dtype), len(CATEGORIES))
    assert np.array_equal(matrix, confusion_matrix(*pair, CATEGORIES))


def test_an_index_that_is_no_class_is_refused():
    with pytest.raises(ValueError, match=r"got \[7\]"):
        index_confusion(np.array([[7, 0]]), np.array([[0, 0]]), 4)


@given(pairs())
def test_every_pixel_is_counted_once(pair):
    assert confusion_matrix(*pair, CATEGORIES).sum() == pair[0].size


@pytest.mark.slow
@given(st.lists(pairs(), min_size=1, max_size=4), st.lists(pairs(), min_size=1, max_size=4))
def test_two_metrics_merged_equal_one_that_saw_all(first, second):
    def scored(stream):
        metric = ConfusionMatrix(CATEGORIES)
        for pred, target in stream:
            metric.update([pred], [target])
        return metric

    merged, whole = scored(first), scored(first + second)
    merged.merge_state(scored(second))
    assert torch.equal(merged.matrix, whole.matrix)  # integers: exact
    for name, value in whole.compute().items():
        assert torch.equal(merged.compute()[name].nan_to_num(-1), value.nan_to_num(-1)), name
