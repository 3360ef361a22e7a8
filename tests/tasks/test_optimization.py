from functools import partial

import pytest
import torch
from torch import nn

from maskmill.networks.encoders import TimmEncoder
from maskmill.tasks.optimization import configure, constant, parameter_groups, poly


def rates(scheduler_of, num):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler, seen = scheduler_of(optimizer), []
    for _ in range(num):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def test_poly_decays_to_nothing_at_the_last_step():
    assert rates(lambda o: poly(o, total_steps=4, power=1.0), 5) == pytest.approx(
        [2, 1.5, 1, 0.5, 0]
    )
    assert rates(lambda o: poly(o, total_steps=4, power=0.5), 2)[1] == pytest.approx(2 * 0.75**0.5)


def test_warm_up_rises_linearly():
    # 1/3, 2/3, 3/3 of the decayed rate 2 * (1 - step / 6)
    assert rates(lambda o: poly(o, total_steps=6, power=1.0, warmup_steps=2), 3) == pytest.approx(
        [2 / 3, 2 * 5 / 6 * 2 / 3, 2 * 4 / 6]
    )


def test_constant_stays():
    assert rates(lambda o: constant(o, total_steps=3), 3) == [2, 2, 2]


@pytest.mark.parametrize(
    "values", [{"power": -1.0}, {"warmup_steps": 10}, {"warmup_steps": -1}], ids=str
)
def test_values_out_of_range_are_refused(values):
    with pytest.raises(ValueError, match=r"Expected .* but got .* mend"):
        poly(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0), total_steps=10, **values)


def test_norms_and_biases_are_not_decayed_and_nothing_is_left_out():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    network[2].weight.requires_grad = False  # frozen: the optimiser must not see it
    decayed, others = parameter_groups(network)
    assert [value.shape for value in decayed["params"]] == [network[0].weight.shape]
    assert "weight_decay" not in decayed
    assert others["weight_decay"] == 0
    assert len(others["params"]) == 4  # two biases, and weight and bias of the norm


@pytest.mark.parametrize(
    "scheduler",
    [
        lambda o, *, total_steps: poly(o, total_steps=total_steps),
        partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.1, pct_start=0.5),
    ],
    ids=["poly", "one-cycle"],
)
def test_layers_of_the_encoder_keep_their_share_of_the_rate_under_every_schedule(scheduler):
    network = nn.Sequential(
        TimmEncoder("resnet10t", layer_decay=0.5).create(), nn.Conv2d(512, 2, 1)
    )
    built = configure(network, partial(torch.optim.SGD, lr=0.1), scheduler, total_steps=8)
    optimizer, schedule = built["optimizer"], built["lr_scheduler"]["scheduler"]
    head, stem = network[1].weight, network[0].model.conv1[0].weight
    for _ in range(6):
        rates = {
            id(value): group["lr"] for group in optimizer.param_groups for value in group["params"]
        }
        assert rates[id(stem)] == pytest.approx(
            rates[id(head)] * 0.5**5
        )  # stem and four stages, the last one step from the head
        optimizer.step()
        schedule.step()


def test_without_a_layer_decay_there_are_the_two_groups_only():
    groups = parameter_groups(
        nn.Sequential(TimmEncoder("resnet10t").create(), nn.Conv2d(512, 2, 1))
    )
    assert [group.keys() for group in groups] == [{"params"}, {"params", "weight_decay"}]
