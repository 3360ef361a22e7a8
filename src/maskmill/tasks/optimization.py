"""The optimiser and the learning rate over time, from the configuration's partials."""

import math
from collections.abc import Callable, Iterable
from typing import Any

from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from maskmill.networks.layers import learned_parameters

Groups = Iterable[dict[str, Any]]
OptimizerOf = Callable[[Groups], Optimizer]
SchedulerOf = Callable[..., LRScheduler]


def configure(
    network: nn.Module, optimizer: OptimizerOf, scheduler: SchedulerOf, total_steps: float
) -> OptimizerLRScheduler:
    """Build both for a network.

    Args:
        network: whose parameters are trained.
        optimizer: takes parameter groups.
        scheduler: takes the optimiser and `total_steps`; it moves once a step.
        total_steps: of the whole training, as the Trainer estimates them.

    Returns:
        what a LightningModule's `configure_optimizers` returns.

    Raises:
        ValueError: the training has no end.
    """
    if math.isinf(total_steps):
        raise ValueError(
            "Expected `max_epochs` or `max_steps`, since the schedule needs the length of the training, but got neither - mend trainer"
        )
    built = optimizer(parameter_groups(network))
    _scale(built, ("lr",))
    schedule = scheduler(built, total_steps=int(total_steps))
    if isinstance(schedule, OneCycleLR):  # it has set all groups to one peak
        _scale(built, ("lr", "initial_lr", "max_lr", "min_lr"))
    return {"optimizer": built, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def parameter_groups(network: nn.Module) -> list[dict[str, Any]]:
    """Matrices and kernels, and apart from them norms and biases, which weight decay would only pull off balance.

    Where the encoder has a layer decay, each of its layers has groups of its own, with the factor of their learning rate as `lr_scale`.
    """
    members: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for parameter, _, scale in learned_parameters(network):
        members.setdefault((scale, parameter.ndim > 1), []).append(parameter)
    return [
        {"params": members[scale, decayed]}
        | ({} if decayed else {"weight_decay": 0.0})
        | ({} if scale == 1 else {"lr_scale": scale})
        for scale, decayed in sorted(members, reverse=True)  # the network's own layers first
    ]


def _scale(optimizer: Optimizer, rates: Iterable[str]) -> None:
    for group in optimizer.param_groups:
        group.update({name: group[name] * group.get("lr_scale", 1.0) for name in rates})


def poly(
    optimizer: Optimizer, *, total_steps: int, power: float = 0.9, warmup_steps: int = 0
) -> LambdaLR:
    """Linear warm-up, then (1 - step / total) ** power (Chen et al., arXiv:1606.00915, sec. 4.1.1).

    Args:
        optimizer: whose learning rates are scaled.
        total_steps: of the whole training.
        power: of the decay.
        warmup_steps: over which the rate rises from 0.

    Raises:
        ValueError: a negative number, or a warm-up as long as the training.
    """
    if power < 0 or not 0 <= warmup_steps < total_steps:
        raise ValueError(
            f"Expected `power` of at least 0 and `warmup_steps` below the {total_steps} steps of the training, "
            f"but got {power} and {warmup_steps} - mend conf/scheduler or train longer"
        )

    def factor(step: int) -> float:
        warm = min(1.0, (step + 1) / (warmup_steps + 1))
        return float(warm * max(0.0, 1 - step / total_steps) ** power)

    return LambdaLR(optimizer, factor)


def constant(optimizer: Optimizer, *, total_steps: int) -> LambdaLR:
    """The same learning rate throughout."""
    assert total_steps > 0
    return LambdaLR(optimizer, lambda _: 1.0)
