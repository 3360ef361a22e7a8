"""Learning-rate range test: a short training whose rate rises from far too small to far too large.

Smith, Cyclical Learning Rates, arXiv:1506.01186, sec. 3.3.
"""

# Why not Lightning's lr_find (read in 2.6.6, tuner/lr_finder.py):
# - It sets all parameter groups to the same rate, so layer decay is lost.
# - Its suggestion is the steepest descent per unit of the rate, not per decade, over rates that
#   are spaced by decades; this favours the smallest rates. The first ten steps are skipped.
# - Its moving average (beta 0.98, some 50 of 100 steps) looks back only, so the curve lags behind
#   the rates, and one NaN makes all later values NaN without stopping the test.
# - With gradient accumulation, it records the loss of the last batch only.
# - It removes all callbacks (seeds of the steps, averaged weights, unfreezing), so the steps are
#   not those of the training, and it saves a checkpoint that remains if the process is killed.

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Gt
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from maskmill.data.dataset import Batch
from maskmill.tasks.segmentation import SegmentationTask
from maskmill.training.trial import restored_after

Floats = npt.NDArray[np.float64]
MakeTrainer = Callable[..., Trainer]  # takes `callbacks` and `max_steps`
MIN_POINTS = 10  # fewer do not make a curve
WINDOW = 1 / 40  # standard deviation of the smoothing window, as a fraction of all steps
NUM_RECENT = 5  # steps whose median decides about divergence: one bad batch is none


@dataclass(frozen=True)
class RangeCurve:
    """The losses of a range test.

    Args:
        rates: learning rates (N,) of the steps, rising.
        losses: losses (N,) of the steps; the last may be NaN or infinite.
    """

    rates: Floats
    losses: Floats

    @property
    def smooth(self) -> Floats:
        """The losses (N,) under a Gaussian window that is symmetric, so that the curve has no lag.

        Losses after the lowest one are clipped to the highest loss before it; otherwise a few that
        explode would hide all others.
        """
        steps = np.arange(len(self.losses))
        width = max(1.0, WINDOW * len(steps))
        weights = np.exp(-0.5 * ((steps[:, None] - steps) / width) ** 2)  # (N, N)
        is_finite = np.isfinite(self.losses)
        losses = self.losses[is_finite]
        highest_before = losses[: losses.argmin() + 1].max()
        losses = np.minimum(losses, highest_before)
        weights = weights[:, is_finite]
        smooth: Floats = weights @ losses / weights.sum(axis=1)
        return smooth

    @property
    def best(self) -> int:
        """The step where the smooth loss is lowest."""
        return int(np.argmin(self.smooth))

    def suggestion(self) -> float:
        """The rate at the steepest descent per decade before the lowest loss, to two digits.

        Raises:
            ValueError: the loss never falls.
        """
        slopes = np.gradient(self.smooth, np.log10(self.rates))[: self.best + 1]
        if self.best == 0 or not slopes.min() < 0:
            raise ValueError(
                f"Expected the loss to fall between the learning rates {self.rates[0]:.2g} and "
                f"{self.rates[-1]:.2g}, but it does not - either lower tune.lr.lowest, raise "
                "tune.lr.num_steps, or look at the data with `maskmill preview`"
            )
        return float(f"{self.rates[np.argmin(slopes)]:.2g}")


@dataclass(frozen=True)
class RangeTest:
    """A range test whose rate rises by the same factor every step.

    Args:
        lowest: the first learning rate.
        highest: the last learning rate.
        num_steps: number of optimizer steps.
        stop_at: stop when the loss exceeds the lowest loss so far by this factor.

    Raises:
        ValueError: `highest` is not above `lowest`.
    """

    lowest: Annotated[float, Gt(0)]
    highest: Annotated[float, Gt(0)]
    num_steps: Annotated[int, Ge(2 * MIN_POINTS)]
    stop_at: Annotated[float, Gt(1)]

    def __post_init__(self) -> None:
        if self.highest <= self.lowest:
            raise ValueError(
                f"Expected `highest` above `lowest`, but got {self.highest} and {self.lowest} - "
                "check tune.lr"
            )

    def run(
        self, task: SegmentationTask, datamodule: LightningDataModule, make_trainer: MakeTrainer
    ) -> RangeCurve:
        """Train with rising rates; afterwards the task's weights and schedule are as before.

        Raises:
            ValueError: the loss diverges before there are enough steps for a curve.
        """
        recorder = _LossRecorder(self.stop_at)
        schedule = partial(rising, lowest=self.lowest, highest=self.highest)
        with restored_after(task, schedule):
            make_trainer(callbacks=[recorder], max_steps=self.num_steps).fit(task, datamodule)
        curve = RangeCurve(np.array(recorder.rates), np.array(recorder.losses))
        num_finite = int(np.isfinite(curve.losses).sum())
        if num_finite < MIN_POINTS:
            raise ValueError(
                f"Expected at least {MIN_POINTS} steps before the loss diverges, but from the "
                f"learning rate {self.lowest:g} on there were only {num_finite} - "
                "either lower tune.lr.lowest or raise tune.lr.num_steps"
            )
        return curve


def rising(optimizer: Optimizer, *, total_steps: int, lowest: float, highest: float) -> LambdaLR:
    """A rate that rises from `lowest` to `highest` by the same factor every step.

    Parameter groups keep their rates relative to the optimizer's own rate.
    """
    own_rate = float(optimizer.defaults["lr"])

    def factor(step: int) -> float:
        rate: float = lowest * (highest / lowest) ** (step / (total_steps - 1))
        return rate / own_rate

    return LambdaLR(optimizer, factor)


class _LossRecorder(Callback):
    """Rate and mean loss of each optimizer step; stops the training when the loss diverges."""

    def __init__(self, stop_at: float) -> None:
        self.stop_at = stop_at
        self.rates: list[float] = []
        self.losses: list[float] = []
        self._rate = 0.0
        self._batch_losses: list[float] = []

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Remember the rate of this step: of the first group, to which no layer decay applies."""
        self._rate = float(optimizer.param_groups[0]["lr"])

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Record the loss after the last batch of a step."""
        self._batch_losses.append(float(outputs["loss"]))
        is_accumulating = trainer.global_step == len(self.losses)
        if is_accumulating:
            return
        loss = float(np.mean(self._batch_losses))
        self._batch_losses = []
        self.rates.append(self._rate)
        self.losses.append(loss)
        recent = np.median(self.losses[-NUM_RECENT:])
        has_exploded = recent > self.stop_at * min(self.losses) > 0
        if has_exploded or not np.isfinite(loss):
            trainer.should_stop = True
