"""The optimiser and the learning rate over time, from the configuration's partials."""

import math
from collections.abc import Callable, Iterable
from typing import Any

from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

Groups = Iterable[dict[str, Any]]
OptimizerOf = Callable[[Groups], Optimizer]
SchedulerOf = Callable[..., LRScheduler]


def configure(network: nn.Module, optimizer: OptimizerOf, scheduler: SchedulerOf, total_steps: float) -> OptimizerLRScheduler:
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
    return {"optimizer": built, "lr_scheduler": {"scheduler": scheduler(built, total_steps=int(total_steps)), "interval": "step"}}


def parameter_groups(network: nn.Module) -> list[dict[str, Any]]:
    """Matrices and kernels, and apart from them norms and biases, which weight decay would only pull off balance."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in trained if parameter.ndim > 1]
    others = [parameter for parameter in trained if parameter.ndim <= 1]
    return [{"params": decayed}, {"params": others, "weight_decay": 0.0}]


def poly(optimizer: Optimizer, *, total_steps: int, power: float = 0.9, warmup_steps: int = 0) -> LambdaLR:
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
