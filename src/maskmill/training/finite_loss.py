"""A loss that is NaN or infinite ends the training and names the images that caused it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from maskmill.canonical.files import write_json
from maskmill.data.dataset import Batch


@dataclass(frozen=True)
class StepLoss:
    """Loss of a step that is yet to be checked, with the indices of its images."""

    batch_idx: int
    loss: Tensor
    images: list[int]


class FiniteLoss(Callback):
    """Check every loss: at once on the CPU, every `trainer.log_every_n_steps` on other devices.

    Reading a loss makes a GPU's steps wait. No checkpoint is written after an unchecked loss. A
    gradient that overflows in half precision is no error: the scaler skips that step, and its loss
    is finite.

    Args:
        folder: folder for `bad_batch.json`: epoch, batch, rank, loss and file names.
    """

    def __init__(self, *, folder: Path) -> None:
        self.folder = folder
        self._unchecked: list[StepLoss] = []

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Keep the loss, and check if it is time."""
        images = list(batch.get("index", []))
        self._unchecked.append(StepLoss(batch_idx, outputs["loss"], images))
        interval: int = trainer.log_every_n_steps  # type: ignore[attr-defined] # see StepLog
        if pl_module.device.type == "cpu" or len(self._unchecked) >= interval:
            self._check(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check before weights are scored and kept."""
        self._check(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check before weights are kept."""
        self._check(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Check before weights are kept."""
        self._check(trainer)

    def _check(self, trainer: Trainer) -> None:
        steps = self._unchecked
        self._unchecked = []
        if not steps or torch.stack([step.loss for step in steps]).isfinite().all():
            return
        bad = next(step for step in steps if not step.loss.isfinite())
        names = _image_names(trainer, bad.images)
        report = {
            "epoch": trainer.current_epoch,
            "batch": bad.batch_idx,
            "rank": trainer.global_rank,
            "loss": str(float(bad.loss)),
            "images": names,
        }
        path = write_json(self.folder / "bad_batch.json", report)
        raise ValueError(
            f"Expected a finite loss, but got {float(bad.loss)} in batch {bad.batch_idx} of epoch "
            f"{trainer.current_epoch + 1}, with the images {', '.join(names)} ({path}) - either "
            "lower optimizer.lr, set trainer.gradient_clip_val, train in 32-true or bf16-mixed, "
            "or look at these images with `maskmill preview`"
        )


def _image_names(trainer: Trainer, images: list[int]) -> list[str]:
    """File names of training images; their indices if the data set has no names."""
    dataset = getattr(trainer.train_dataloader, "dataset", None)
    split = getattr(dataset, "split", None)
    if split is None:
        return [str(index) for index in images]
    return [split.name(index) for index in images]
