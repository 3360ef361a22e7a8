import pytest
import torch
from torch import nn

from maskmill.tasks.schedules import cosine, step


def rates(scheduler_of, num):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler, seen = scheduler_of(optimizer), []
    for _ in range(num):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def test_cosine_falls_from_all_to_the_final_share():
    # cos(0), cos(pi/4), cos(pi/2), cos(3 pi/4), cos(pi) of 2 * (1 + cos) / 2
    assert rates(lambda o: cosine(o, total_steps=4), 5) == pytest.approx(
        [2, 1 + 2**-0.5, 1, 1 - 2**-0.5, 0]
    )
    assert rates(lambda o: cosine(o, total_steps=4, final=0.5), 5)[-1] == pytest.approx(1)


def test_step_falls_at_its_shares():
    assert rates(lambda o: step(o, total_steps=6, at=[0.5, 5 / 6], factor=0.1), 6) == pytest.approx(
        [2, 2, 2, 0.2, 0.2, 0.02]
    )


@pytest.mark.parametrize("schedule", [cosine, step])
def test_warm_up_rises_linearly_to_the_full_rate(schedule):
    assert rates(lambda o: schedule(o, total_steps=30, warmup_steps=3), 4) == pytest.approx(
        [0.5, 1, 1.5, 2]
    )


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (cosine, {"final": 2.0}),
        (cosine, {"warmup_steps": 10}),
        (step, {"at": [1.5]}),
        (step, {"factor": 0.0}),
        (step, {"warmup_steps": -1}),
    ],
)
def test_values_out_of_range_are_refused(schedule, values):
    with pytest.raises(ValueError, match=r"Expected .* but got .* mend"):
        schedule(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0), total_steps=10, **values)
