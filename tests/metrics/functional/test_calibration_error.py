"""Calibration: counted by hand."""

import numpy as np
import pytest

from maskmill.canonical.categories import Categories, Category
from maskmill.canonical.panoptic import Panoptic
from maskmill.metrics.functional.calibration_error import reliability, scored_segments
from maskmill.metrics.functional.segment_matching import find_matches

CATS = Categories([Category(5, "cat", True, (200, 0, 0))])


def test_two_bins_equal_the_count_by_hand():
    # up to 0.5: scores 0.2 and 0.4, one right; above: 0.9 twice and 0.6, two right
    bins = reliability(
        np.array([0.2, 0.4, 0.9, 0.9, 0.6]), np.array([True, False, True, True, False]), num_bins=2
    )
    assert bins.count.tolist() == [2, 3]
    assert bins.confidence.tolist() == pytest.approx([0.3, 0.8])
    assert bins.accuracy.tolist() == pytest.approx([0.5, 2 / 3])
    assert bins.ece == pytest.approx((2 * 0.2 + 3 * (0.8 - 2 / 3)) / 5)


def test_a_score_on_the_edge_belongs_to_the_lower_bin():
    assert reliability(np.array([0.0, 0.5, 1.0]), np.ones(3, bool), num_bins=2).count.tolist() == [
        2,
        1,
    ]


def test_certain_and_right_has_no_error_and_certain_and_wrong_all_of_it():
    assert reliability(np.ones(4), np.ones(4, bool)).ece == 0
    assert reliability(np.ones(4), np.zeros(4, bool)).ece == 1


def test_an_empty_bin_has_no_value_and_no_scores_have_no_error():
    assert np.isnan(reliability(np.array([0.85]), np.array([True])).accuracy[:8]).all()
    assert np.isnan(reliability(np.zeros(0), np.zeros(0, bool)).ece)


@pytest.mark.parametrize("score", [-0.1, 1.1, np.nan])
def test_a_score_that_is_no_probability_is_refused(score):
    with pytest.raises(ValueError, match=r"scores in 0\.\.1"):
        reliability(np.array([score]), np.array([True]))


def test_ignored_segments_and_those_without_a_score_are_left_out():
    target = Panoptic.from_ids(np.array([[1, 1, 1, 1, 2, 2, 0, 0]]), {1: 5, 2: 5})
    pred = Panoptic.from_ids(
        np.array([[1, 1, 1, 1, 2, 3, 4, 4]]),
        dict.fromkeys(range(1, 5), 5),
        scores={1: 0.9, 3: 0.3, 4: 0.8},
    )
    score, right = scored_segments([find_matches(pred, target, CATS, background=False)])
    assert score.tolist() == [0.9, 0.3]  # 2 has none, 4 lies on void
    assert right.tolist() == [True, False]
