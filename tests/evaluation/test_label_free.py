"""Scores without labels: exact where the reference tells all, and an interval that covers."""

import numpy as np
import pytest

from maskmill.evaluation.label_free import (
    CorrectionLine,
    Estimator,
    estimate_scores,
    shifted_scores,
    sum_bins,
)
from maskmill.evaluation.outcomes import Outcomes
from maskmill.evaluation.reference import Reference, ShiftedScores, observed
from observations import STREET, draw_observations, labelled

ACCURACY = {11: 0.6, 19: 0.97}


def draw(seed, count, **changes):
    return [labelled(seen, ACCURACY, 0.7) for seen in draw_observations(seed, count, **changes)]


@pytest.fixture(scope="module")
def val():
    return draw(0, 60)


def expect(val, new):
    return Estimator(Outcomes(val, STREET)).expected_miou(sum_bins(new, STREET))


def test_the_expectation_on_the_validation_images_is_their_score(val):
    true = Outcomes(val, STREET).scores()
    assert expect(val, observed(val)) == pytest.approx(true["mIoU"], abs=0.002)


@pytest.mark.parametrize("changes", [{}, {"doubt": 0.5}, {"cars": 5.0}], ids=str)
def test_the_expectation_follows_the_score_where_confidence_tells_it(val, changes):
    new = draw(9, 200, **changes)
    true = Outcomes(new, STREET).scores()
    assert expect(val, observed(new)) == pytest.approx(true["mIoU"], abs=0.01)


def test_a_class_that_is_predicted_nowhere_does_not_count(val):
    seen = draw_observations(3, 20, cars=0.0)
    for observation in seen:
        del observation.confidence["26"]
    assert expect(val, seen) > 0.75  # of road and sky; with a car's IoU of 0 it would be < 0.66


@pytest.mark.parametrize(
    ("expected", "true", "at", "value"),
    [
        pytest.param([0.5, 0.6, 0.8], [0.3, 0.4, 0.6], 0.7, 0.5, id="a-constant-excess"),
        pytest.param([0.6, 0.7, 0.8], [0.2, 0.5, 0.8], 0.75, 0.65, id="falls-faster"),
        pytest.param([0.7, 0.7, 0.7], [0.6, 0.6, 0.6], 0.7, 0.6, id="no-change-in-any-copy"),
        pytest.param([], [], 0.7, 0.7, id="no-copies"),
        pytest.param([0.6, 0.7], [0.0, 0.1], 0.5, 0.0, id="not-below-0"),
    ],
)
def test_a_score_is_read_from_a_line_through_changed_copies(expected, true, at, value):
    shifted = []
    for x, y in zip(expected, true, strict=True):
        shifted.append(ShiftedScores("x", x, {"PQ": y}))
    found, low, high = CorrectionLine(shifted, "PQ").interval(at, spread=0.0)
    assert found == pytest.approx(value)
    assert low - 1e-9 <= value <= high + 1e-9


def test_the_interval_is_as_wide_as_the_errors_on_copies_left_out():
    estimates = np.linspace(0.4, 0.8, 21)
    noise = np.where(np.arange(21) % 2, 0.05, -0.05)
    shifted = []
    for x, error in zip(estimates.tolist(), noise.tolist(), strict=True):
        shifted.append(ShiftedScores("x", x, {"mIoU": x + error}))
    line = CorrectionLine(shifted, "mIoU")
    value, low, high = line.interval(0.6, spread=0.0)
    assert line.error == pytest.approx(0.055, abs=0.005)
    # About twelve copies count: 0.055 times Student's t of 11 degrees of freedom, 2.2.
    assert high - value == pytest.approx(0.121, abs=0.015)
    assert value - low == pytest.approx(high - value)


def test_intervals_of_lines_through_twelve_copies_cover_nineteen_of_twenty_scores():
    random = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        x = random.uniform(0.5, 0.9, 13)
        y = np.clip(1.5 * x - 0.5 + random.normal(0, 0.03, 13), 0, 1)
        shifted = []
        for expected, true in zip(x[1:].tolist(), y[1:].tolist(), strict=True):
            shifted.append(ShiftedScores("x", expected, {"PQ": true}))
        _, low, high = CorrectionLine(shifted, "PQ").interval(x[0], spread=0.0)
        covered.append(low <= y[0] <= high)
    assert np.mean(covered) >= 0.93


@pytest.mark.slow
def test_few_validation_images_give_a_wider_interval_than_many(val):
    new = draw_observations(5, 50)
    widths = []
    for num_images in (15, 60):
        reference = Reference([], val[:num_images], [], ["mIoU", "PQ"])
        (_, row) = estimate_scores(reference, new, STREET)
        widths.append(row.high - row.low)
    assert widths[0] > 1.4 * widths[1] > 0


def test_estimates_name_their_score_and_cover_the_truth(val):
    copies = []
    for doubt in (0.1, 0.15, 0.25, 0.4, 0.6):
        changed = draw(round(100 * doubt), 30, doubt=doubt)
        copies.append(shifted_scores(f"doubt {doubt}", val, changed, ["mIoU", "PQ"], STREET))
    reference = Reference([], val, copies, ["mIoU", "PQ"])
    new = draw(5, 100, doubt=0.3)
    true = Outcomes(new, STREET).scores()
    estimates = estimate_scores(reference, observed(new), STREET)
    assert [row.score for row in estimates] == ["mIoU", "PQ"]
    for row in estimates:
        assert row.low <= true[row.score] <= row.high
        assert abs(row.value - true[row.score]) < 0.03
        assert row.reference == pytest.approx(Outcomes(val, STREET).scores()[row.score])


def test_a_changed_copy_without_a_prediction_has_no_scores(val):
    changed = draw(7, 30)
    for row in changed:
        row.seen.confidence.clear()
    assert shifted_scores("dark", val, changed, ["mIoU"], STREET) is None


def test_a_changed_copy_holds_the_scores_that_are_asked_for(val):
    row = shifted_scores("doubtful", val, draw(7, 30, doubt=0.5), ["mIoU"], STREET)
    assert row.name == "doubtful"
    assert row.expected == pytest.approx(row.true["mIoU"], abs=0.02)
    assert row.true.keys() == {"mIoU"}
