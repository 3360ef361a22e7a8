"""Planted drift is found at 200 images; nothing is found in clean draws."""

import re

import numpy as np
import pytest

from maskmill.evaluation.drift import (
    Features,
    find_drift,
    image_features,
    merged,
    prediction_features,
    require_images,
)
from observations import STREET, draw_observations


def features(observations):
    return merged(image_features(observations), prediction_features(observations, STREET))


@pytest.fixture(scope="module")
def reference():
    of_predictions = prediction_features(draw_observations(1, 40), STREET)
    return merged(image_features(draw_observations(0, 150)), of_predictions)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"brightness": 0.8}, "brightness"),
        ({"brightness": 1.25}, "brightness"),
        ({"sharpness": 0.5}, "sharpness"),
        ({"cars": 6.0}, "share of car"),
        ({"cars": 6.0}, "objects"),
        ({"cars": 0.3}, "objects"),
        ({"size": 0.75}, "height"),
        ({"size": 0.75}, "image size"),
        ({"doubt": 0.45}, "confidence"),
    ],
    ids=str,
)
def test_drift_is_found_at_200_images(reference, changes, found):
    drifts = find_drift(reference, features(draw_observations(2, 200, **changes)))
    drifted = {drift.feature for drift in drifts if drift.is_drift}
    assert found in drifted
    assert "red" not in drifted or "brightness" in changes


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 4, 5])
@pytest.mark.parametrize("count", [30, 200, 2000])
def test_nothing_is_found_in_clean_draws(reference, seed, count):
    drifts = find_drift(reference, features(draw_observations(seed, count)))
    assert len(drifts) > 10
    assert not [drift.feature for drift in drifts if drift.is_drift]


def numbers(values):
    return Features({"x": np.asarray(values, float)}, {})


def test_a_significant_but_small_drift_is_none():
    grid = np.arange(20_000)
    (drift,) = find_drift(numbers(grid), numbers(grid + 2000))
    assert drift.effect == pytest.approx(0.1)  # a tenth of the images are beyond the reference
    assert drift.p_value < 1e-6
    assert not drift.is_drift


def test_p_values_are_adjusted_for_the_number_of_features():
    # Of one pair of 20 and 20 images the distance 0.45 has p = 0.033; that of the smallest of 10
    # features is 10 times as large, and Benjamini and Hochberg's is at least that of the last rank.
    base = np.arange(20.0)
    shifted = np.where(base < 9, base + 100, base)
    before = Features({f"x{index}": base for index in range(10)}, {})
    others = {f"x{index}": base for index in range(1, 10)}
    (first, *_) = find_drift(before, Features({"x0": shifted, **others}, {}))
    (alone,) = find_drift(numbers(base), numbers(shifted))
    assert first.feature == "x0"
    assert first.p_value == pytest.approx(min(1, 10 * alone.p_value))


def test_values_that_only_some_images_have_are_compared_among_these():
    some = [*np.linspace(0, 1, 30), *[np.nan] * 30]
    (drift,) = find_drift(numbers(some), numbers(np.linspace(0, 1, 30)))
    assert drift.effect == 0
    assert find_drift(numbers(some), numbers([np.nan] * 60)) == []


def test_rare_kinds_are_counted_together():
    before = Features({}, {"kind": np.array(["a"] * 50 + [f"b{index}" for index in range(10)])})
    now = Features({}, {"kind": np.array(["a"] * 50 + [f"c{index}" for index in range(10)])})
    (drift,) = find_drift(before, now)
    assert drift.effect < 0.15
    assert not drift.is_drift
    (drift,) = find_drift(before, Features({}, {"kind": np.array(["c"] * 60)}))
    assert drift.is_drift
    assert drift.current == "c (100 %)"


def test_too_few_images_are_refused():
    message = "serve.jsonl: expected at least 10 images, but got 9 - a drift cannot be told"
    with pytest.raises(ValueError, match=re.escape(message)):
        require_images(9, "serve.jsonl")
