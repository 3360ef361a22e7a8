"""What happens beside the training: seeds per step, lines in the log, example pictures."""

import hashlib
import logging
import time
from collections.abc import Callable
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import RGB
from maskmill.data.dataset import Batch

log = logging.getLogger(__name__)

SHOWN = ("train/loss", "val/loss", "val/mIoU", "val/PQ", "val/PQ/thing")


class StepSeed(Callback):
    """Seed torch anew at every batch from (seed, epoch, batch, rank), so that dropout after a resume is what it would have been."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Seed."""
        name = f"{self.seed}/{trainer.current_epoch}/{batch_idx}/{trainer.global_rank}".encode()
        torch.manual_seed(int.from_bytes(hashlib.sha256(name).digest()[:7], "little"))


class EpochLines(Callback):
    """One line an epoch in the log: place, seconds, images per second, losses and scores."""

    def __init__(self) -> None:
        self._start = 0.0
        self._images = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; a training resumed within an epoch has no start of that epoch."""
        self._start = time.perf_counter()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._start, self._images = time.perf_counter(), 0

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Count images."""
        self._images += len(batch["image"]) * trainer.world_size

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the line; this comes after the epoch's validation."""
        if not trainer.is_global_zero:
            return
        seconds = time.perf_counter() - self._start
        text = "  ".join(
            f"{key} {float(trainer.callback_metrics[key]):.4f}"
            for key in SHOWN
            if key in trainer.callback_metrics
        )
        speed = self._images / seconds
        log.info(
            "epoch %d/%d  %.1f s  %.0f images/s  %s",
            trainer.current_epoch + 1,
            trainer.max_epochs or -1,
            seconds,
            speed,
            text,
        )


class ExamplePictures(Callback):
    """Show the first validation images with their truth and prediction to whoever keeps pictures.

    Args:
        num_images: how many images, of the first validation batch at most.
        every_n_epochs: how often; the last epoch always.
        show: takes an image (H, W, 3) uint8, its truth, its prediction and a name.

    Raises:
        ValueError: a number below 1.
    """

    def __init__(
        self,
        num_images: int,
        every_n_epochs: int,
        *,
        show: Callable[[RGB, Panoptic, Panoptic, str], None],
    ) -> None:
        if num_images < 1 or every_n_epochs < 1:
            raise ValueError(
                f"Expected `num_images` and `every_n_epochs` of at least 1, but got {num_images} and {every_n_epochs}"
            )
        self.num_images, self.every_n_epochs, self.show = num_images, every_n_epochs, show

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
        due = epoch % self.every_n_epochs == 0 or epoch == trainer.max_epochs
        if batch_idx > 0 or not due or not trainer.is_global_zero or trainer.sanity_checking:
            return
        for place, prediction in enumerate(outputs[: self.num_images]):
            height, width = batch["size"][place]
            image = batch["image"][place, :, :height, :width].permute(1, 2, 0).cpu().numpy()
            self.show(
                image,
                batch["panoptic"][place],
                prediction.panoptic,
                f"example-{place}/epoch-{epoch:04d}.png",
            )
