"""The optimizer and the learning-rate schedule, built from the configuration's partials."""

import math
from collections.abc import Callable, Iterable
from typing import Annotated, Any

from annotated_types import Ge
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from maskmill.networks.layers import learned_parameters

AMP_OFFER = "_step_supports_amp_scaling"  # attribute of fused optimizers
ParameterGroup = dict[str, Any]
OptimizerFactory = Callable[[Iterable[ParameterGroup]], Optimizer]
SchedulerFactory = Callable[..., LRScheduler]


def configure(
    network: nn.Module,
    optimizer: OptimizerFactory,
    scheduler: SchedulerFactory,
    total_steps: float,
) -> OptimizerLRScheduler:
    """Build the optimizer and the scheduler of a network.

    Args:
        network: the network whose parameters are trained.
        optimizer: maps parameter groups to an optimizer.
        scheduler: maps the optimizer and `total_steps` to a scheduler, which advances every step.
        total_steps: length of the whole training, as estimated by the Trainer.

    Returns:
        the return value of a LightningModule's `configure_optimizers`.

    Raises:
        ValueError: the training is endless.
    """
    if math.isinf(total_steps):
        raise ValueError(
            "Expected a training of finite length, since the schedule depends on it, but got "
            "neither `max_epochs` nor `max_steps` - set one of them in `trainer`"
        )
    built = optimizer(parameter_groups(network))
    _unscale_before_step(built)
    _apply_lr_scale(built, ("lr",))
    schedule = scheduler(built, total_steps=int(total_steps))
    if isinstance(schedule, OneCycleLR):  # it has given all groups the same peak
        _apply_lr_scale(built, ("lr", "initial_lr", "max_lr", "min_lr"))
    return {"optimizer": built, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _unscale_before_step(optimizer: Optimizer) -> None:
    """Let Lightning clip the gradients of a fused optimizer in mixed precision too.

    A fused optimizer offers to divide the gradients by the scale of float16 itself, in its step,
    which is after clipping; Lightning therefore refuses to clip. Without the offer, they are
    divided before, as for any other optimizer, and bfloat16 has no scale.
    """
    if getattr(optimizer, AMP_OFFER, False):
        setattr(optimizer, AMP_OFFER, False)


def parameter_groups(network: nn.Module) -> list[ParameterGroup]:
    """Parameter groups of a network, with no weight decay for norms and biases.

    If the encoder has a layer decay, each of its layers gets groups of its own, whose key
    `lr_scale` is the factor of their learning rate. The groups without a factor come first.
    """
    members: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for parameter, _, lr_scale in learned_parameters(network):
        is_matrix = parameter.ndim > 1
        members.setdefault((lr_scale, is_matrix), []).append(parameter)
    groups = []
    for lr_scale, is_matrix in sorted(members, reverse=True):
        group: ParameterGroup = {"params": members[lr_scale, is_matrix]}
        if not is_matrix:
            group["weight_decay"] = 0.0
        if lr_scale != 1:
            group["lr_scale"] = lr_scale
        groups.append(group)
    return groups


def _apply_lr_scale(optimizer: Optimizer, keys: Iterable[str]) -> None:
    for group in optimizer.param_groups:
        for key in keys:
            group[key] *= group.get("lr_scale", 1.0)


def poly(
    optimizer: Optimizer,
    *,
    total_steps: int,
    power: Annotated[float, Ge(0)] = 0.9,
    warmup_steps: Annotated[int, Ge(0)] = 0,
) -> LambdaLR:
    """Linear warm-up, then (1 - step / total) ** power (Chen et al., arXiv:1606.00915, sec. 4.1.1).

    Args:
        optimizer: the optimizer whose learning rates are scaled.
        total_steps: length of the whole training.
        power: exponent of the decay.
        warmup_steps: number of steps over which the rate rises from 0.

    Raises:
        ValueError: the warm-up is as long as the training.
    """
    check_warmup(warmup_steps, total_steps)

    def factor(step: int) -> float:
        warmup = min(1.0, (step + 1) / (warmup_steps + 1))
        return float(warmup * max(0.0, 1 - step / total_steps) ** power)

    return LambdaLR(optimizer, factor)


def constant(optimizer: Optimizer, *, total_steps: int) -> LambdaLR:
    """The same learning rate at every step."""
    assert total_steps > 0
    return LambdaLR(optimizer, lambda _: 1.0)


def check_warmup(warmup_steps: int, total_steps: int) -> None:
    """Refuse a warm-up that is as long as the training.

    Raises:
        ValueError: `warmup_steps` is not below `total_steps`.
    """
    if warmup_steps >= total_steps:
        raise ValueError(
            f"Expected `warmup_steps` below the {total_steps} steps of the training, but got "
            f"{warmup_steps} - either lower scheduler.warmup_steps or train longer"
        )
