import math

import numpy as np
import pytest

from maskmill.evaluation.calibration import (
    CalibrationResult,
    Gap,
    fit_scores,
    fit_temperature,
    pixel_gap,
    segment_gap,
)
from maskmill.postprocess.calibration import Calibration


@pytest.mark.parametrize(
    ("logit", "num_correct", "temperature"),
    [
        # Of two classes the most likely has probability sigmoid(logit / T), which must be the
        # share of correct pixels: T = logit / log(share / (1 - share)).
        pytest.param(4.0, 75, 4 / math.log(3), id="overconfident"),
        pytest.param(1.0, 90, 1 / math.log(9), id="underconfident"),
        pytest.param(math.log(4), 80, 1.0, id="calibrated"),
        pytest.param(1.0, 50, 20.0, id="worthless-confidence-is-bounded"),
    ],
)
def test_the_temperature_makes_confidence_the_share_of_correct_pixels(
    logit, num_correct, temperature
):
    logits = np.tile([logit, 0.0], (100, 1))
    target = np.repeat([0, 1], [num_correct, 100 - num_correct])
    found = fit_temperature(logits, target)
    assert found == pytest.approx(temperature, rel=1e-3)
    gap = pixel_gap(logits, target, found)
    assert gap.count == 100
    assert gap.ece_before == pytest.approx(
        abs(1 / (1 + math.exp(-logit)) - num_correct / 100), abs=1e-4
    )
    assert gap.ece_after < 0.02


def test_scores_become_the_share_of_segments_that_match():
    # Of 1000 segments with score 0.6 there match 30 %, and of those with 0.9 60 %: two numbers fit
    # both, but for Platt's targets, which are slightly inside 0 and 1.
    score = np.repeat([0.6, 0.9], 1000)
    correct = np.concatenate([np.arange(1000) < 300, np.arange(1000) < 600])
    calibration = Calibration(1.0, *fit_scores(score, correct))
    assert calibration.segment_score(0.6) == pytest.approx(0.3, abs=0.002)
    assert calibration.segment_score(0.9) == pytest.approx(0.6, abs=0.002)
    gap = segment_gap(score, correct, calibration)
    assert gap.ece_before == pytest.approx(0.3)
    assert gap.ece_after < 0.003


def test_scores_that_rank_the_wrong_way_keep_their_order():
    slope, _ = fit_scores(np.repeat([0.2, 0.9], 100), np.repeat([True, False], 100))
    assert slope == 0.05


def test_few_pixels_and_segments_change_nothing():
    assert fit_temperature(np.tile([9.0, 0.0], (49, 1)), np.ones(49, np.int64)) == 1
    assert fit_scores(np.full(49, 0.9), np.zeros(49, bool)) == (1, 0)


def test_segments_that_all_match_get_a_score_below_one():
    calibration = Calibration(1.0, *fit_scores(np.linspace(0.5, 0.99, 60), np.ones(60, bool)))
    assert 0.9 < calibration.segment_score(0.9) < 1


def test_the_summary_leaves_out_what_was_not_measured():
    result = CalibrationResult(Calibration(), 7, None, Gap(50, 0.2, 0.1))
    assert result.summary() == {
        "num_images": 7,
        "segments": {"count": 50, "ece_before": 0.2, "ece_after": 0.1},
    }
