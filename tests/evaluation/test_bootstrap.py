import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from maskmill.evaluation import bootstrap
from maskmill.evaluation.bootstrap import Resampling, interval, intervals


def mean_of(values):
    return lambda weights: {"mean": weights @ np.array(values, float) / weights.sum(axis=1)}


def test_the_interval_of_a_constant_is_itself():
    assert interval(Resampling(100).draw(mean_of([0.25] * 7), 7)["mean"]) == (0.25, 0.25)


def test_two_images_have_three_outcomes():
    drawn = Resampling(1000).draw(mean_of([0, 1]), 2)["mean"]
    assert set(drawn) == {
        0,
        0.5,
        1,
    }  # both draws the first, one of each, both the second: 1/4, 1/2, 1/4
    assert np.mean(drawn == 0.5) == pytest.approx(
        0.5, abs=0.06
    )  # four standard deviations of 1000 draws
    assert interval(drawn) == (0, 1)


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution():
    values = np.random.default_rng(0).normal(size=400)
    low, high = interval(Resampling(4000).draw(mean_of(values), 400)["mean"])
    half = 1.96 * values.std() / 20  # the standard error of a mean of 400
    assert low == pytest.approx(
        values.mean() - half, abs=0.015
    )  # percentiles of 4000 draws, 0.05 wide: 3 % of the width
    assert high == pytest.approx(values.mean() + half, abs=0.015)


@given(st.integers(1, 40), st.integers(1, 60), st.integers(1, 500))
def test_the_draws_do_not_depend_on_how_many_are_held_at_a_time(num_images, num_resamples, block):
    whole = np.concatenate(list(Resampling(num_resamples, 3).weights(num_images)))
    held, bootstrap.BLOCK = bootstrap.BLOCK, block
    try:
        parts = list(Resampling(num_resamples, 3).weights(num_images))
    finally:
        bootstrap.BLOCK = held
    assert np.array_equal(np.concatenate(parts), whole)
    assert max(part.size for part in parts) <= max(block, num_images)
    assert (whole.sum(axis=1) == num_images).all()


def test_another_seed_draws_other_images():
    first, second = (next(Resampling(5, seed).weights(10)) for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_resamples_without_a_value_are_left_out():
    assert interval(np.array([np.nan, 0.5, np.nan])) == (0.5, 0.5)
    assert interval(np.array([np.nan, np.nan])) is None
    assert interval(np.array([])) is None
    bounds = intervals(np.array([[0.5, np.nan], [0.5, np.nan]]))
    assert np.array_equal(bounds, [[0.5, np.nan], [0.5, np.nan]], equal_nan=True)


@pytest.mark.filterwarnings("ignore:All-NaN slice")
@given(
    arrays(
        np.float64,
        st.tuples(st.integers(1, 30), st.integers(1, 4)),
        elements=st.one_of(st.floats(0, 1), st.just(np.nan)),
    )
)
def test_intervals_are_the_percentiles_of_numpy(values):
    expected = np.nanpercentile(values, [2.5, 97.5], axis=0)
    assert np.allclose(intervals(values), expected, rtol=0, atol=1e-9, equal_nan=True)


def test_no_resamples_draw_nothing():
    assert Resampling(0).draw(mean_of([1]), 1) == {}
