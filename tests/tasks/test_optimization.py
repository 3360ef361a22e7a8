from functools import partial

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from maskmill.assembly.build import build
from maskmill.networks.encoders import TimmEncoder
from maskmill.tasks.optimization import configure, constant, parameter_groups, poly


def test_poly_decays_to_zero_at_the_last_step(rates_of):
    linear = rates_of(poly, 5, total_steps=4, power=1.0)
    assert linear == pytest.approx([2, 1.5, 1, 0.5, 0])
    square_root = rates_of(poly, 2, total_steps=4, power=0.5)
    assert square_root[1] == pytest.approx(2 * 0.75**0.5)


def test_warm_up_rises_linearly(rates_of):
    # 1/3, 2/3, 3/3 of the decayed rate 2 * (1 - step / 6)
    expected = [2 / 3, 2 * 5 / 6 * 2 / 3, 2 * 4 / 6]
    rates = rates_of(poly, 3, total_steps=6, power=1.0, warmup_steps=2)
    assert rates == pytest.approx(expected)


def test_constant_keeps_the_rate(rates_of):
    assert rates_of(constant, 3, total_steps=3) == [2, 2, 2]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"power": -1.0}, r"scheduler\.power: .* greater than or equal to 0"),
        ({"warmup_steps": -1}, r"scheduler\.warmup_steps: .* greater than or equal to 0"),
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(values, message):
    node = {"_target_": "maskmill.tasks.optimization.poly", "_partial_": True, **values}
    with pytest.raises(ValueError, match=message):
        build(OmegaConf.create({"scheduler": node}).scheduler, object)


def test_a_warm_up_as_long_as_the_training_is_refused(rates_of):
    with pytest.raises(
        ValueError, match=r"below the 10 steps of the training, but got 10 - either"
    ):
        rates_of(poly, 1, total_steps=10, warmup_steps=10)


def test_norms_and_biases_have_no_weight_decay_and_no_parameter_is_missing():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    network[2].weight.requires_grad = False  # frozen: the optimizer must not see it
    decayed, others = parameter_groups(network)
    assert [value.shape for value in decayed["params"]] == [network[0].weight.shape]
    assert "weight_decay" not in decayed
    assert others["weight_decay"] == 0
    assert len(others["params"]) == 4  # two biases, and weight and bias of the norm


@pytest.mark.parametrize(
    "scheduler",
    [
        pytest.param(poly, id="poly"),
        pytest.param(
            partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.1, pct_start=0.5), id="one-cycle"
        ),
    ],
)
def test_layer_decay_holds_at_every_step_of_a_schedule(scheduler):
    encoder = TimmEncoder("resnet10t", layer_decay=0.5).create()
    network = nn.Sequential(encoder, nn.Conv2d(512, 2, 1))
    built = configure(network, partial(torch.optim.SGD, lr=0.1), scheduler, total_steps=8)
    optimizer = built["optimizer"]
    head = network[1].weight
    stem = network[0].model.conv1[0].weight
    for _ in range(6):
        rates = {}
        for group in optimizer.param_groups:
            rates |= {id(value): group["lr"] for value in group["params"]}
        # the stem and four stages, the last of them one step from the head
        assert rates[id(stem)] == pytest.approx(rates[id(head)] * 0.5**5)
        optimizer.step()
        built["lr_scheduler"]["scheduler"].step()


def test_without_layer_decay_there_are_two_groups():
    network = nn.Sequential(TimmEncoder("resnet10t").create(), nn.Conv2d(512, 2, 1))
    keys = [group.keys() for group in parameter_groups(network)]
    assert keys == [{"params"}, {"params", "weight_decay"}]
