"""Learning rates over the steps of a training, each after a linear warm-up."""

import math
from collections.abc import Callable, Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def cosine(
    optimizer: Optimizer, *, total_steps: int, warmup_steps: int = 0, final: float = 0.0
) -> LambdaLR:
    """Half a cosine from the full rate down to a share of it (Loshchilov and Hutter, arXiv:1608.03983, eq. 5, without restarts).

    Args:
        optimizer: whose learning rates are scaled.
        total_steps: of the whole training.
        warmup_steps: over which the rate rises from 0.
        final: share of the rate at the end, 0..1.

    Raises:
        ValueError: a number out of range, or a warm-up as long as the training.
    """
    if not 0 <= final <= 1:
        raise ValueError(f"Expected `final` in 0..1, but got {final} - mend conf/scheduler")

    def decay(step: int) -> float:
        done = (step - warmup_steps) / (total_steps - warmup_steps)
        return final + (1 - final) * (1 + math.cos(math.pi * min(1.0, done))) / 2

    return _after_warmup(optimizer, decay, warmup_steps, total_steps)


def step(
    optimizer: Optimizer,
    *,
    total_steps: int,
    at: Sequence[float] = (0.67, 0.89),
    factor: float = 0.1,
    warmup_steps: int = 0,
) -> LambdaLR:
    """The rate falls by a factor at given shares of the training, as in Mask R-CNN's schedule (He et al., arXiv:1703.06870, sec. 3.1).

    Args:
        optimizer: whose learning rates are scaled.
        total_steps: of the whole training.
        at: shares of the training, 0..1.
        factor: of each fall, 0..1.
        warmup_steps: over which the rate rises from 0.

    Raises:
        ValueError: a number out of range, or a warm-up as long as the training.
    """
    if not all(0 <= share <= 1 for share in at) or not 0 < factor < 1:
        raise ValueError(
            f"Expected shares `at` in 0..1 and `factor` between 0 and 1, but got {list(at)} and {factor} - mend conf/scheduler"
        )
    return _after_warmup(
        optimizer,
        lambda now: factor ** sum(now >= share * total_steps for share in at),
        warmup_steps,
        total_steps,
    )


def _after_warmup(
    optimizer: Optimizer, decay: Callable[[int], float], warmup_steps: int, total_steps: int
) -> LambdaLR:
    if not 0 <= warmup_steps < total_steps:
        raise ValueError(
            f"Expected `warmup_steps` below the {total_steps} steps of the training, but got {warmup_steps} - "
            "mend conf/scheduler or train longer"
        )
    return LambdaLR(
        optimizer, lambda now: (now + 1) / (warmup_steps + 1) if now < warmup_steps else decay(now)
    )
