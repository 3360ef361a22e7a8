"""The range test: curves with a known answer, and real trainings that leave the task as it was."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from maskmill.assembly.build import build
from maskmill.training.lr_range import RangeCurve, RangeTest, rising
from small_trainings import Tiny

RATES = np.logspace(-6, 0, 121)  # twenty steps a decade


def falling_at(center):
    """A loss that is a sigmoid of the rate's logarithm, steepest at `center`.

    It diverges three decades later.
    """
    x = np.log10(RATES) - center
    return 1 + 2 / (1 + np.exp(4 * x)) + np.exp(6 * (x - 3))


@pytest.mark.slow
@given(st.floats(-4.5, -2.5))
def test_the_suggestion_is_where_the_loss_falls_fastest(center):
    suggested = RangeCurve(RATES, falling_at(center)).suggestion()
    # two steps: the window is 3 steps wide, and the result has two digits
    assert abs(np.log10(suggested) - center) < 0.1


@pytest.mark.slow
@given(st.floats(0.1, 100), st.floats(-5, 5))
def test_the_suggestion_does_not_depend_on_unit_or_origin_of_the_loss(scale, shift):
    expected = RangeCurve(RATES, falling_at(-3)).suggestion()
    assert RangeCurve(RATES, scale * falling_at(-3) + shift).suggestion() == expected


def test_a_nan_loss_is_left_out():
    losses = falling_at(-3)
    expected = RangeCurve(RATES, losses).suggestion()
    losses[-1] = np.nan
    assert RangeCurve(RATES, losses).suggestion() == expected


def test_losses_that_explode_at_the_end_do_not_hide_the_others():
    losses = falling_at(-3)
    exploded = np.concatenate([losses[:-3], [1e4, 1e10, 1e18]])
    curve = RangeCurve(RATES, exploded)
    assert curve.suggestion() == RangeCurve(RATES, losses).suggestion()
    assert curve.smooth.max() <= losses[0]


def test_a_loss_that_starts_far_above_its_lowest_keeps_its_start():
    losses = 100 * falling_at(-3) - 95  # from 205 down to 5
    # the window covers a few steps
    assert RangeCurve(RATES, losses).smooth[0] == pytest.approx(losses[0], rel=0.01)


def test_a_loss_that_never_falls_has_no_suggestion():
    with pytest.raises(ValueError, match="but it does not - either lower tune.lr.lowest"):
        RangeCurve(RATES, np.linspace(1, 2, 121)).suggestion()


def test_the_rate_rises_by_the_same_factor_and_groups_keep_their_relative_rates():
    groups = [
        {"params": [torch.zeros(1, requires_grad=True)]},
        {"params": [torch.zeros(1, requires_grad=True)], "lr": 0.25},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.5)
    schedule = rising(optimizer, total_steps=5, lowest=1e-4, highest=1.0)
    for expected in (1e-4, 1e-3, 1e-2, 1e-1, 1.0):
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([expected, expected / 2])
        optimizer.step()
        schedule.step()


@pytest.mark.slow
def test_two_real_tests_agree_and_restore_weights_statistics_and_schedule(
    make_task, make_data, make_trainer
):
    task = make_task(Tiny)
    schedule = task.scheduler
    weights = {key: value.clone() for key, value in task.state_dict().items()}
    test = RangeTest(lowest=1e-5, highest=10.0, num_steps=40, stop_at=4.0)
    first = test.run(task, make_data(), make_trainer)
    second = test.run(task, make_data(), make_trainer)
    assert np.array_equal(first.losses, second.losses)
    assert first.suggestion() == second.suggestion()
    assert 1e-5 < first.suggestion() < 10
    assert first.rates[:2] == pytest.approx([1e-5, 1e-5 * 1e6 ** (1 / 39)])
    assert task.scheduler is schedule
    for key, value in task.state_dict().items():
        assert torch.equal(value, weights[key])


@pytest.mark.slow
def test_accumulated_batches_are_one_point_of_the_curve(make_task, make_data, make_trainer):
    def make_accumulating_trainer(**settings):
        return make_trainer(**settings, accumulate_grad_batches=2)

    test = RangeTest(lowest=1e-5, highest=1.0, num_steps=20, stop_at=1e9)
    curve = test.run(make_task(Tiny), make_data(), make_accumulating_trainer)
    assert len(curve.rates) == 20
    assert curve.rates[-1] == pytest.approx(1.0)


class Diverging(Tiny):
    """Its loss is NaN once its weights have grown."""

    def forward(self, image):
        has_grown = self.layers[0].weight.abs().max() > 1
        return {"semantic": super().forward(image)["semantic"] * (torch.nan if has_grown else 1.0)}


@pytest.mark.slow
def test_the_test_stops_at_a_nan_loss(make_task, make_data, make_trainer):
    test = RangeTest(lowest=1e-5, highest=100.0, num_steps=60, stop_at=1e9)
    curve = test.run(make_task(Diverging), make_data(), make_trainer)
    assert len(curve.losses) < 60
    assert np.isnan(curve.losses[-1])
    assert np.isfinite(curve.losses[:-1]).all()
    assert curve.suggestion() < 100


def test_a_loss_that_diverges_at_once_is_an_error(make_task, make_data, make_trainer):
    test = RangeTest(lowest=10.0, highest=100.0, num_steps=20, stop_at=1e9)
    message = r"before the loss diverges, but .* there were only \d - either lower tune.lr.lowest"
    with pytest.raises(ValueError, match=message):
        test.run(make_task(Diverging), make_data(), make_trainer)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lowest": 0.0}, r"tune\.lowest: .* greater than 0"),
        ({"num_steps": 5}, r"tune\.num_steps: .* greater than or equal to 20"),
        ({"stop_at": 1.0}, r"tune\.stop_at: .* greater than 1"),
        ({"highest": 1e-7}, r"Expected `highest` above `lowest`"),
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(changes, message):
    values = {"lowest": 1e-6, "highest": 1.0, "num_steps": 100, "stop_at": 4.0} | changes
    node = {"_target_": "maskmill.training.lr_range.RangeTest", **values}
    with pytest.raises(ValueError, match=message):
        build(OmegaConf.create({"tune": node}).tune, RangeTest)
