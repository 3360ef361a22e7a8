"""A loss that is no number ends the training, with the images that made it."""

from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from maskmill.canonical.files import write_json
from maskmill.data.dataset import Batch


class FiniteLoss(Callback):
    """Look at every loss: at once on the CPU, every `trainer.log_every_n_steps` elsewhere, since looking makes a GPU's steps wait.

    No checkpoint is written behind a loss that was not looked at. A single gradient that overflows in half precision is not meant: the
    scaler skips that step, and its loss is finite.

    Args:
        folder: `bad_batch.json` is written here: step, epoch, loss and file names.
    """

    def __init__(self, *, folder: Path) -> None:
        self.folder = folder
        self._unseen: list[tuple[int, Tensor, list[int]]] = []

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Keep the loss, and look where it is due."""
        self._unseen.append((batch_idx, outputs["loss"], list(batch.get("index", []))))
        if pl_module.device.type == "cpu" or len(self._unseen) >= trainer.log_every_n_steps:  # type: ignore[attr-defined] # see StepLog
            self._look(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look before weights are scored and kept."""
        self._look(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look before weights are kept."""
        self._look(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Look before weights are kept."""
        self._look(trainer)

    def _look(self, trainer: Trainer) -> None:
        unseen, self._unseen = self._unseen, []
        if not unseen or torch.stack([loss for _, loss, _ in unseen]).isfinite().all():
            return
        batch_idx, loss, places = next(row for row in unseen if not row[1].isfinite())
        split = getattr(getattr(trainer.train_dataloader, "dataset", None), "split", None)
        names = [split.name(place) if split else str(place) for place in places]
        where = {
            "epoch": trainer.current_epoch,
            "batch": batch_idx,
            "rank": trainer.global_rank,
            "loss": str(float(loss)),
            "images": names,
        }
        path = write_json(self.folder / "bad_batch.json", where)
        raise ValueError(
            f"Expected a finite loss, but it is {float(loss)} in batch {batch_idx} of epoch {trainer.current_epoch + 1}, with the images "
            f"{', '.join(names)} ({path}) - lower optimizer.lr, set trainer.gradient_clip_val, train in 32-true or bf16-mixed, "
            "or look at these images with `maskmill preview`"
        )
