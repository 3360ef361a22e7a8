"""Learning-rate range test (Smith, arXiv:1506.01186, sec. 3.3): a short training whose rate rises from far too small to far too large."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from maskmill.data.dataset import Batch
from maskmill.tasks.segmentation import SegmentationTask
from maskmill.training.untouched import untouched

Floats = npt.NDArray[np.float64]
TrainerOf = Callable[..., Trainer]  # takes `callbacks` and `max_steps`
MIN_POINTS = 10  # fewer make no curve
WINDOW = 1 / 40  # of all steps: the standard deviation that smooths the losses


@dataclass(frozen=True)
class RangeCurve:
    """Losses (N,) of the steps and their learning rates (N,), rising; the last losses may be no numbers."""

    rates: Floats
    losses: Floats

    @property
    def smooth(self) -> Floats:
        """The losses (N,) under a window that looks both ways, so that no rate is blamed for what an earlier one did.

        Those behind the lowest count as the highest before it at most, or a few that explode would hide all others.
        """
        steps = np.arange(len(self.losses))
        weights = np.exp(
            -0.5 * ((steps[:, None] - steps) / max(1.0, WINDOW * len(steps))) ** 2
        )  # (N, N)
        known = np.isfinite(self.losses)
        losses = self.losses[known]
        losses = np.minimum(losses, losses[: losses.argmin() + 1].max())
        smooth: Floats = weights[:, known] @ losses / weights[:, known].sum(axis=1)
        return smooth

    @property
    def best(self) -> int:
        """The step where the smooth loss is lowest."""
        return int(np.argmin(self.smooth))

    def suggestion(self) -> float:
        """The rate before that where the loss falls fastest per decade of the rate, to two digits.

        Raises:
            ValueError: it falls nowhere.
        """
        slopes = np.gradient(self.smooth, np.log10(self.rates))[: self.best + 1]
        if self.best == 0 or not slopes.min() < 0:
            raise ValueError(
                f"Expected the loss to fall between the learning rates {self.rates[0]:.2g} and {self.rates[-1]:.2g}, but it does not - "
                "lower tune.lr.lowest, raise tune.lr.num_steps, or look at the data with `maskmill preview`"
            )
        return float(f"{self.rates[np.argmin(slopes)]:.2g}")


@dataclass(frozen=True)
class RangeTest:
    """How the rate rises, by the same factor every step.

    Args:
        lowest: of the rates.
        highest: of the rates.
        num_steps: of the optimiser.
        stop_at: end where the loss is that many times the lowest one so far.

    Raises:
        ValueError: a number out of range.
    """

    lowest: float
    highest: float
    num_steps: int
    stop_at: float

    def __post_init__(self) -> None:
        if (
            not 0 < self.lowest < self.highest
            or self.num_steps < 2 * MIN_POINTS
            or not self.stop_at > 1
        ):
            raise ValueError(
                f"Expected 0 < `lowest` < `highest`, `num_steps` of at least {2 * MIN_POINTS} and `stop_at` above 1, "
                f"but got {self.lowest}, {self.highest}, {self.num_steps} and {self.stop_at} - mend tune.lr"
            )

    def run(
        self, task: SegmentationTask, datamodule: LightningDataModule, trainer_of: TrainerOf
    ) -> RangeCurve:
        """Train with rising rates in place of the task's schedule; its weights and its schedule are as before afterwards.

        Raises:
            ValueError: the loss was no number before a curve could be seen.
        """
        losses = _Losses(self.stop_at)
        with untouched(task, partial(rising, lowest=self.lowest, highest=self.highest)):
            trainer_of(callbacks=[losses], max_steps=self.num_steps).fit(task, datamodule)
        curve = RangeCurve(np.array(losses.rates), np.array(losses.losses))
        finite = int(np.isfinite(curve.losses).sum())
        if finite < MIN_POINTS:
            raise ValueError(
                f"Expected at least {MIN_POINTS} steps before the loss runs away, but from the learning rate {self.lowest:g} on there were "
                f"only {finite} - lower tune.lr.lowest, or raise tune.lr.num_steps"
            )
        return curve


def rising(optimizer: Optimizer, *, total_steps: int, lowest: float, highest: float) -> LambdaLR:
    """From the lowest rate to the highest, by the same factor every step, whatever rate the optimiser was given."""
    given = float(optimizer.defaults["lr"])
    return LambdaLR(
        optimizer, lambda step: lowest * (highest / lowest) ** (step / (total_steps - 1)) / given
    )


class _Losses(Callback):
    """The mean loss of each optimiser step and its rate; ends the training where the loss runs away."""

    def __init__(self, stop_at: float) -> None:
        self.stop_at, self.rates, self.losses = stop_at, list[float](), list[float]()
        self._parts: list[float] = []

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Remember the rate of this step: of the first group, which has no layer's share of it."""
        self._rate = float(optimizer.param_groups[0]["lr"])

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Note the loss after the last batch of a step."""
        self._parts.append(float(outputs["loss"]))
        if trainer.global_step == len(self.losses):
            return  # within an accumulation
        loss = float(np.mean(self._parts))
        self._parts = []
        self.rates.append(self._rate)
        self.losses.append(loss)
        last = np.median(self.losses[-5:])  # a single bad batch is no divergence
        if not np.isfinite(loss) or last > self.stop_at * min(self.losses) > 0:
            trainer.should_stop = True
