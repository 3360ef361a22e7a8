"""What holds for every loss under conf/loss, built as the stage `train` builds it."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import nn

from maskmill.assembly.build import build
from maskmill.canonical.categories import IGNORE_INDEX

CONF = Path(__file__).parents[2] / "conf"
CHANNELS = {"semantic": 3, "center": 1, "offset": 2}
SIZE = (9, 11)


def shipped(name):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return build(compose("config", [f"loss={name}"]).loss, nn.Module)


# Losses of the outputs above; those of others, as of queries, have their tests beside their networks.
DENSE = sorted(
    path.stem for path in CONF.glob("loss/*.yaml") if "mask_classification" not in path.read_text()
)
LOSSES = {name: shipped(name) for name in DENSE}
every_loss = pytest.mark.parametrize(
    "loss", [pytest.param(LOSSES[name], id=name) for name in DENSE]
)


def example(seed=0, ignored=True):
    """Outputs that learn, and targets of three classes with a thing; void where asked for."""
    generator = torch.Generator().manual_seed(seed)
    outputs = {
        name: torch.randn(2, width, *SIZE, generator=generator) for name, width in CHANNELS.items()
    }
    semantic = torch.randint(3, (2, *SIZE), generator=generator).to(torch.uint8)
    instance = torch.where(semantic == 2, 1, 0).to(torch.int32)
    if ignored:
        void = torch.rand(2, *SIZE, generator=generator) < 0.3
        semantic[void], instance[void] = IGNORE_INDEX, -1
    return outputs, {"semantic": semantic, "instance": instance}


def value_and_slopes(loss, outputs, batch):
    leaves = {name: value.clone().requires_grad_() for name, value in outputs.items()}
    total = sum(loss(leaves, batch).values())
    total.backward()
    return total.detach(), {
        name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        for name, leaf in leaves.items()
    }


@every_loss
def test_it_is_finite_and_teaches(loss):
    total, slopes = value_and_slopes(loss, *example())
    assert total.isfinite()
    assert all(slope.isfinite().all() for slope in slopes.values())
    assert slopes["semantic"].any()


@every_loss
@hypothesis_settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 999))
def test_what_is_said_of_an_unlabelled_pixel_changes_neither_loss_nor_slope(loss, seed):
    outputs, batch = example(seed)
    void = (batch["semantic"] == IGNORE_INDEX).unsqueeze(1)
    other = {
        name: torch.where(void, 30 * torch.randn_like(value), value)
        for name, value in outputs.items()
    }
    total, slopes = value_and_slopes(loss, outputs, batch)
    other_total, other_slopes = value_and_slopes(loss, other, batch)
    assert torch.equal(total, other_total)
    for name, slope in slopes.items():
        assert torch.equal(slope, other_slopes[name])
        assert not (slope * void).any()


@every_loss
def test_a_batch_without_labels_is_zero_and_teaches_nothing(loss):
    outputs, batch = example()
    unknown = {
        "semantic": torch.full_like(batch["semantic"], IGNORE_INDEX),
        "instance": torch.full_like(batch["instance"], -1),
    }
    total, slopes = value_and_slopes(loss, outputs, unknown)
    assert total == 0
    assert not any(slope.any() for slope in slopes.values())


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_outputs_are_summed_in_full(loss, dtype):
    outputs, batch = example()
    half = {name: value.to(dtype) for name, value in outputs.items()}
    short, full = (
        loss(half, batch),
        loss({name: value.float() for name, value in half.items()}, batch),
    )
    assert short == full
    assert all(value.dtype == torch.float32 for value in short.values())


@every_loss
def test_it_is_finite_for_logits_as_large_as_half_precision_holds(loss):
    outputs, batch = example()
    total, slopes = value_and_slopes(
        loss, outputs | {"semantic": 60_000 * outputs["semantic"].sign()}, batch
    )
    assert total.isfinite()
    assert all(slope.isfinite().all() for slope in slopes.values())


@every_loss
def test_a_right_and_sure_guess_costs_less_than_a_wrong_one(loss):
    outputs, batch = example(ignored=False)
    right = (
        20 * torch.nn.functional.one_hot(batch["semantic"].long(), 3).permute(0, 3, 1, 2).float()
    )
    good, bad = (
        sum(loss(outputs | {"semantic": each}, batch).values())
        for each in (right, right.roll(1, dims=1))
    )
    assert good < bad


@every_loss
def test_steps_down_its_slope_lower_it(loss):
    outputs, batch = example()
    leaves = {name: value.clone().requires_grad_() for name, value in outputs.items()}
    optimizer = torch.optim.Adam(leaves.values(), lr=0.05)
    first = float(sum(loss(leaves, batch).values()).detach())
    for _ in range(20):
        optimizer.zero_grad()
        sum(loss(leaves, batch).values()).backward()
        optimizer.step()
    assert float(sum(loss(leaves, batch).values()).detach()) < first
