"""Small callbacks: a seed for each step, a log line for each epoch, example pictures."""

import hashlib
import logging
import math
import time
from collections.abc import Callable
from typing import Annotated, Any

import torch
from annotated_types import Ge
from lightning import Callback, LightningModule, Trainer

from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import RGB
from maskmill.data.dataset import Batch
from maskmill.training.context import RunContext
from maskmill.training.progress import Progress

log = logging.getLogger(__name__)

MAX_TIMES = 50  # that pictures are shown in a training
SHOWN = ("train/loss", "val/loss", "val/mIoU", "val/PQ", "val/PQ/thing")


class StepSeed(Callback):
    """Seed torch at each batch from (seed, epoch, batch, rank): dropout is the same after a resume.

    Args:
        seed: seed of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Seed torch."""
        name = f"{self.seed}/{trainer.current_epoch}/{batch_idx}/{trainer.global_rank}".encode()
        torch.manual_seed(int.from_bytes(hashlib.sha256(name).digest()[:7], "little"))


class EpochLines(Callback):
    """Log one line per epoch: its index, seconds, images per second, scores and the time left."""

    def __init__(self) -> None:
        self._progress = Progress()
        self._start = 0.0
        self._num_images = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock: a run resumed within an epoch does not start that epoch again."""
        self._progress.begin(trainer)
        self._start = time.perf_counter()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._start = time.perf_counter()
        self._num_images = 0

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Count images."""
        self._num_images += len(batch["image"]) * trainer.world_size

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the line, after the epoch's validation."""
        if not trainer.is_global_zero:
            return
        seconds = time.perf_counter() - self._start
        values = []
        for key in SHOWN:
            if key in trainer.callback_metrics:
                values.append(f"{key} {float(trainer.callback_metrics[key]):.4f}")
        log.info(
            "epoch %d/%d  %.1f s  %.1f images/s  %s  left %s",
            trainer.current_epoch + 1,
            trainer.max_epochs or -1,
            seconds,
            self._num_images / seconds,
            "  ".join(values),
            self._progress.time_left(trainer),
        )


class ExamplePictures(Callback):
    """Show the first validation images with their ground truth and prediction (`RunContext.show`).

    Args:
        num_images: number of images, at most those of the first validation batch.
        every_n_epochs: interval in epochs, longer in trainings of more than `MAX_TIMES` intervals;
            the last epoch is always shown.
    """

    def __init__(
        self, num_images: Annotated[int, Ge(1)], every_n_epochs: Annotated[int, Ge(1)]
    ) -> None:
        self.num_images = num_images
        self.every_n_epochs = every_n_epochs
        self._show: Callable[[RGB, Panoptic, Panoptic, str, int], None] | None = None

    def attach(self, context: RunContext) -> None:
        """Send the pictures to the run."""
        self._show = context.show

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Show the predictions of the first batch."""
        epoch = trainer.current_epoch + 1
        interval = max(self.every_n_epochs, math.ceil((trainer.max_epochs or 0) / MAX_TIMES))
        is_due = epoch % interval == 0 or epoch == trainer.max_epochs
        is_first_batch = batch_idx == 0 and not trainer.sanity_checking
        if self._show is None or not (is_due and is_first_batch and trainer.is_global_zero):
            return
        for index, prediction in enumerate(outputs[: self.num_images]):
            height, width = batch["size"][index]
            image = batch["image"][index, :, :height, :width].permute(1, 2, 0)  # (H, W, 3)
            target = batch["panoptic"][index]
            shown = (image.cpu().numpy(), target, prediction.panoptic)
            self._show(*shown, f"example-{index}", trainer.global_step)
