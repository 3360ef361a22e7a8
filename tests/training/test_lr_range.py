"""The range test: curves with a known answer, and a real one that leaves the task as it was."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskmill.training.lr_range import RangeCurve, RangeTest, rising
from small_trainings import Tiny

RATES = np.logspace(-6, 0, 121)  # twenty steps a decade


def falling_at(center):
    """A loss that falls in a sigmoid over the logarithm of the rate, steepest at `center`, and runs away three decades later."""
    x = np.log10(RATES) - center
    return 1 + 2 / (1 + np.exp(4 * x)) + np.exp(6 * (x - 3))


@given(st.floats(-4.5, -2.5))
def test_the_suggestion_is_where_the_loss_falls_fastest(center):
    suggested = RangeCurve(RATES, falling_at(center)).suggestion()
    assert (
        abs(np.log10(suggested) - center) < 0.1
    )  # two steps: the window is 3 steps wide, and the result has two digits


@given(st.floats(0.1, 100), st.floats(-5, 5))
def test_the_suggestion_does_not_depend_on_unit_or_zero_of_the_loss(scale, shift):
    assert (
        RangeCurve(RATES, scale * falling_at(-3) + shift).suggestion()
        == RangeCurve(RATES, falling_at(-3)).suggestion()
    )


def test_a_step_that_is_no_number_is_left_out():
    losses = falling_at(-3)
    losses[-1] = np.nan
    assert RangeCurve(RATES, losses).suggestion() == RangeCurve(RATES, falling_at(-3)).suggestion()


def test_losses_that_explode_at_the_end_do_not_hide_the_others():
    losses = falling_at(-3)
    exploded = np.concatenate([losses[:-3], [1e4, 1e10, 1e18]])
    curve = RangeCurve(RATES, exploded)
    assert curve.suggestion() == RangeCurve(RATES, losses).suggestion()
    assert curve.smooth.max() <= losses[0]


def test_a_loss_that_begins_far_above_its_lowest_keeps_its_beginning():
    losses = 100 * falling_at(-3) - 95  # from 205 down to 5
    assert RangeCurve(RATES, losses).smooth[0] == pytest.approx(
        losses[0], rel=0.01
    )  # the window takes in a few steps


def test_a_loss_that_never_falls_has_no_suggestion():
    with pytest.raises(ValueError, match="but it does not - lower tune.lr.lowest"):
        RangeCurve(RATES, np.linspace(1, 2, 121)).suggestion()


def test_the_rate_rises_by_the_same_factor_and_keeps_the_layers_shares():
    groups = [
        {"params": [torch.zeros(1, requires_grad=True)]},
        {"params": [torch.zeros(1, requires_grad=True)], "lr": 0.25},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.5)
    schedule = rising(optimizer, total_steps=5, lowest=1e-4, highest=1.0)
    rates = []
    for _ in range(5):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    assert rates == [pytest.approx([rate, rate / 2]) for rate in (1e-4, 1e-3, 1e-2, 1e-1, 1.0)]


def test_a_real_test_finds_the_same_twice_and_leaves_weights_statistics_and_schedule_as_they_were(
    make_task, make_data, make_trainer
):
    task = make_task(Tiny)
    before, schedule = (
        {key: value.clone() for key, value in task.state_dict().items()},
        task.scheduler,
    )
    setting = RangeTest(lowest=1e-5, highest=10.0, num_steps=40, stop_at=4.0)
    first, second = (setting.run(task, make_data(), make_trainer) for _ in range(2))
    assert np.array_equal(first.losses, second.losses)
    assert first.suggestion() == second.suggestion()
    assert 1e-5 < first.suggestion() < 10
    assert first.rates[:2] == pytest.approx([1e-5, 1e-5 * 1e6 ** (1 / 39)])
    assert task.scheduler is schedule
    assert all(torch.equal(value, before[key]) for key, value in task.state_dict().items())


def test_accumulated_batches_are_one_point(make_task, make_data, make_trainer):
    def accumulating(**settings):
        return make_trainer(**settings, accumulate_grad_batches=2)

    curve = RangeTest(lowest=1e-5, highest=1.0, num_steps=20, stop_at=1e9).run(
        make_task(Tiny), make_data(), accumulating
    )
    assert len(curve.rates) == 20
    assert curve.rates[-1] == pytest.approx(1.0)


class RunsAway(Tiny):
    """Its loss is no number once its weights have grown."""

    def forward(self, image):
        grown = self.layers[0].weight.abs().max() > 1
        return {"semantic": super().forward(image)["semantic"] * (float("nan") if grown else 1.0)}


def test_the_test_ends_where_the_loss_is_no_number(make_task, make_data, make_trainer):
    setting = RangeTest(lowest=1e-5, highest=100.0, num_steps=60, stop_at=1e9)
    curve = setting.run(make_task(RunsAway), make_data(), make_trainer)
    assert len(curve.losses) < 60
    assert np.isnan(curve.losses[-1])
    assert np.isfinite(curve.losses[:-1]).all()
    assert curve.suggestion() < 100


def test_a_loss_that_runs_away_at_once_says_what_to_lower(make_task, make_data, make_trainer):
    setting = RangeTest(lowest=10.0, highest=100.0, num_steps=20, stop_at=1e9)
    with pytest.raises(
        ValueError,
        match=r"before the loss runs away, but .* there were only \d - lower tune.lr.lowest",
    ):
        setting.run(make_task(RunsAway), make_data(), make_trainer)


@pytest.mark.parametrize(
    "wrong", [{"lowest": 0.0}, {"highest": 1e-7}, {"num_steps": 5}, {"stop_at": 1.0}], ids=str
)
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="mend tune.lr"):
        RangeTest(**{"lowest": 1e-6, "highest": 1.0, "num_steps": 100, "stop_at": 4.0} | wrong)
