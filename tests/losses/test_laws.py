"""Laws of every loss in conf/loss, built as the stage `train` builds it."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torch import nn

from maskmill.assembly.build import build
from maskmill.canonical.categories import IGNORE_INDEX

CONF = Path(__file__).parents[2] / "conf"
CHANNELS = {"semantic": 3, "center": 1, "offset": 2}
SIZE = (9, 11)


def shipped(name):
    # Composing all groups takes 0.4 s.
    files = {"loss": f"loss/{name}.yaml", "sizes": "sizes/scenes.yaml"}
    nodes = {group: OmegaConf.load(CONF / path) for group, path in files.items()}
    return build(OmegaConf.create(nodes | {"class_weights": None}).loss, nn.Module)


# Losses of the outputs above; the loss of queries has its own tests.
DENSE = sorted(
    path.stem for path in CONF.glob("loss/*.yaml") if "mask_classification" not in path.read_text()
)
LOSSES = {name: shipped(name) for name in DENSE}
every_loss = pytest.mark.parametrize(
    "loss", [pytest.param(LOSSES[name], id=name) for name in DENSE]
)


def example(seed=0, ignored=True):
    """Random outputs, and targets of three classes, one of them a thing, with or without void."""
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


def value_and_gradients(loss, outputs, batch):
    leaves = {name: value.clone().requires_grad_() for name, value in outputs.items()}
    total = sum(loss(leaves, batch).values())
    total.backward()
    return total.detach(), {
        name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        for name, leaf in leaves.items()
    }


@every_loss
def test_the_loss_and_its_gradient_are_finite(loss):
    total, gradients = value_and_gradients(loss, *example())
    assert total.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    assert gradients["semantic"].any()


@every_loss
@hypothesis_settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 999))
def test_predictions_for_unlabelled_pixels_change_neither_loss_nor_gradient(loss, seed):
    outputs, batch = example(seed)
    void = (batch["semantic"] == IGNORE_INDEX).unsqueeze(1)
    other = {
        name: torch.where(void, 30 * torch.randn_like(value), value)
        for name, value in outputs.items()
    }
    total, gradients = value_and_gradients(loss, outputs, batch)
    other_total, other_gradients = value_and_gradients(loss, other, batch)
    assert torch.equal(total, other_total)
    for name, gradient in gradients.items():
        assert torch.equal(gradient, other_gradients[name])
        assert not (gradient * void).any()


@every_loss
def test_a_batch_without_labels_has_zero_loss_and_no_gradient(loss):
    outputs, batch = example()
    unknown = {
        "semantic": torch.full_like(batch["semantic"], IGNORE_INDEX),
        "instance": torch.full_like(batch["instance"], -1),
    }
    total, gradients = value_and_gradients(loss, outputs, unknown)
    assert total == 0
    assert not any(gradient.any() for gradient in gradients.values())


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_outputs_are_summed_in_float32(loss, dtype):
    outputs, batch = example()
    half = {name: value.to(dtype) for name, value in outputs.items()}
    full = {name: value.float() for name, value in half.items()}
    terms = loss(half, batch)
    assert terms == loss(full, batch)
    assert all(value.dtype == torch.float32 for value in terms.values())


@every_loss
def test_the_loss_is_finite_for_the_largest_logits_of_half_precision(loss):
    outputs, batch = example()
    total, gradients = value_and_gradients(
        loss, outputs | {"semantic": 60_000 * outputs["semantic"].sign()}, batch
    )
    assert total.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients.values())


@every_loss
def test_a_confident_correct_prediction_has_a_lower_loss_than_a_wrong_one(loss):
    outputs, batch = example(ignored=False)
    one_hot = torch.nn.functional.one_hot(batch["semantic"].long(), 3).permute(0, 3, 1, 2)
    correct = 20 * one_hot.float()
    correct_loss = sum(loss(outputs | {"semantic": correct}, batch).values())
    wrong_loss = sum(loss(outputs | {"semantic": correct.roll(1, dims=1)}, batch).values())
    assert correct_loss < wrong_loss


@every_loss
def test_gradient_descent_lowers_the_loss(loss):
    outputs, batch = example()
    leaves = {name: value.clone().requires_grad_() for name, value in outputs.items()}
    optimizer = torch.optim.Adam(leaves.values(), lr=0.05)
    first = float(sum(loss(leaves, batch).values()).detach())
    for _ in range(20):
        optimizer.zero_grad()
        sum(loss(leaves, batch).values()).backward()
        optimizer.step()
    assert float(sum(loss(leaves, batch).values()).detach()) < first
