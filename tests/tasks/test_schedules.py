import pytest
from omegaconf import OmegaConf

from maskmill.assembly.build import build
from maskmill.tasks.schedules import cosine, step


def test_cosine_falls_from_the_full_rate_to_the_final_fraction(rates_of):
    # cos(0), cos(pi/4), cos(pi/2), cos(3 pi/4), cos(pi) of 2 * (1 + cos) / 2
    expected = [2, 1 + 2**-0.5, 1, 1 - 2**-0.5, 0]
    assert rates_of(cosine, 5, total_steps=4) == pytest.approx(expected)
    assert rates_of(cosine, 5, total_steps=4, final=0.5)[-1] == pytest.approx(1)


def test_step_drops_at_its_fractions_of_the_training(rates_of):
    rates = rates_of(step, 6, total_steps=6, at=[0.5, 5 / 6], factor=0.1)
    assert rates == pytest.approx([2, 2, 2, 0.2, 0.2, 0.02])


@pytest.mark.parametrize("schedule", [cosine, step])
def test_warm_up_rises_linearly_to_the_full_rate(schedule, rates_of):
    rates = rates_of(schedule, 4, total_steps=30, warmup_steps=3)
    assert rates == pytest.approx([0.5, 1, 1.5, 2])


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("cosine", {"final": 2.0}, r"scheduler\.final: .* less than or equal to 1"),
        ("step", {"at": [1.5]}, r"scheduler\.at: .* less than or equal to 1"),
        ("step", {"factor": 0.0}, r"scheduler\.factor: .* greater than 0"),
        ("step", {"warmup_steps": -1}, r"scheduler\.warmup_steps: .* greater than or equal to 0"),
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(name, values, message):
    node = {"_target_": f"maskmill.tasks.schedules.{name}", "_partial_": True, **values}
    with pytest.raises(ValueError, match=message):
        build(OmegaConf.create({"scheduler": node}).scheduler, object)


@pytest.mark.parametrize("schedule", [cosine, step])
def test_a_warm_up_as_long_as_the_training_is_refused(schedule, rates_of):
    with pytest.raises(
        ValueError, match=r"below the 10 steps of the training, but got 10 - either"
    ):
        rates_of(schedule, 1, total_steps=10, warmup_steps=10)
