"""Learning-rate schedules that start with a linear warm-up."""

import math
from collections.abc import Callable, Sequence
from typing import Annotated

from annotated_types import Ge, Interval
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from maskmill.tasks.optimization import check_warmup

Fraction = Annotated[float, Interval(ge=0, le=1)]


def cosine(
    optimizer: Optimizer,
    *,
    total_steps: int,
    warmup_steps: Annotated[int, Ge(0)] = 0,
    final: Fraction = 0.0,
) -> LambdaLR:
    """Half a cosine from the full rate down to a fraction of it.

    Loshchilov and Hutter, SGDR, arXiv:1608.03983, eq. 5, without restarts.

    Args:
        optimizer: the optimizer whose learning rates are scaled.
        total_steps: length of the whole training.
        warmup_steps: number of steps over which the rate rises from 0.
        final: fraction of the full rate at the end.

    Raises:
        ValueError: the warm-up is as long as the training.
    """

    def decay(step: int) -> float:
        progress = (step - warmup_steps) / (total_steps - warmup_steps)
        return final + (1 - final) * (1 + math.cos(math.pi * min(1.0, progress))) / 2

    return _after_warmup(optimizer, decay, warmup_steps, total_steps)


def step(
    optimizer: Optimizer,
    *,
    total_steps: int,
    at: Sequence[Fraction] = (0.67, 0.89),
    factor: Annotated[float, Interval(gt=0, lt=1)] = 0.1,
    warmup_steps: Annotated[int, Ge(0)] = 0,
) -> LambdaLR:
    """A rate that drops by a factor at given fractions of the training.

    The schedule of Mask R-CNN (He et al., arXiv:1703.06870, sec. 3.1).

    Args:
        optimizer: the optimizer whose learning rates are scaled.
        total_steps: length of the whole training.
        at: fractions of the training at which the rate drops.
        factor: factor of each drop.
        warmup_steps: number of steps over which the rate rises from 0.

    Raises:
        ValueError: the warm-up is as long as the training.
    """

    def decay(step: int) -> float:
        num_drops = sum(step >= fraction * total_steps for fraction in at)
        return factor**num_drops

    return _after_warmup(optimizer, decay, warmup_steps, total_steps)


def _after_warmup(
    optimizer: Optimizer, decay: Callable[[int], float], warmup_steps: int, total_steps: int
) -> LambdaLR:
    check_warmup(warmup_steps, total_steps)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        return decay(step)

    return LambdaLR(optimizer, factor)
