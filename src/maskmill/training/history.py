"""The learning curves of a training, kept in its checkpoints, so that a killed run loses none."""

import math
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from maskmill.data.dataset import Batch
from maskmill.evaluation.learning_curves import (
    EPOCH,
    SCORE,
    SCORES,
    TRAIN_LOSS,
    VAL_LOSS,
    Row,
    write_history,
)

ROWS = "maskmill.history"
MAX_LOSSES = 1000  # kept on the device, since reading each would make a GPU's steps wait


class History(Callback):
    """Collects a row for each validation and each end of an epoch.

    The training loss is the mean over the images since the previous row, of all processes.
    """

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._losses: list[Tensor] = []
        self._total = 0.0
        self._num_images = 0

    def write(self, path: Path) -> Path:
        """Write the rows so far, see `write_history`."""
        return write_history(path, self._rows)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Add the loss of a batch."""
        num_images = len(batch["image"])
        # Lightning divides "loss" by the number of accumulated batches, but not the terms.
        terms = torch.stack(list(outputs["terms"].values()))
        self._losses.append(terms.sum() * num_images)
        self._num_images += num_images
        if len(self._losses) == MAX_LOSSES:
            self._read_losses()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add a row with the scores."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        scores = {VAL_LOSS: VAL_LOSS, SCORE: str(pl_module.monitor)}
        scores |= {name: name for name in SCORES}
        values: Row = {}
        for name, key in scores.items():
            value = float(trainer.callback_metrics.get(key, math.nan))
            if not math.isnan(value):
                values[name] = value
        num_done = trainer.fit_loop.batch_idx + 1
        part = num_done / trainer.num_training_batches
        self._add(trainer, trainer.current_epoch + part, values)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add a row of the training loss alone, if the epoch did not end with a validation."""
        epoch = trainer.current_epoch + 1
        if not self._rows or self._rows[-1][EPOCH] != epoch:
            self._add(trainer, epoch, {})

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save the rows, and the sums of all processes, which write one checkpoint."""
        total, num_images = self._sums(trainer)
        checkpoint[ROWS] = {"rows": self._rows, "total": total, "num_images": num_images}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore the rows; the first process takes the sums of all."""
        state = checkpoint.get(ROWS)
        if state is None:
            return
        self._rows = list(state["rows"])
        if trainer.is_global_zero:
            self._total = state["total"]
            self._num_images = state["num_images"]

    def _add(self, trainer: Trainer, epoch: float, values: Row) -> None:
        total, num_images = self._sums(trainer)
        row: Row = {EPOCH: epoch, "step": trainer.global_step}
        if num_images:
            row[TRAIN_LOSS] = total / num_images
        self._rows.append(row | values)
        self._total = 0.0
        self._num_images = 0

    def _sums(self, trainer: Trainer) -> tuple[float, int]:
        """The loss and the number of images since the last row, of all processes."""
        self._read_losses()
        sums = [self._total, float(self._num_images)]
        if trainer.world_size > 1:
            device = trainer.strategy.root_device
            values = torch.tensor(sums, dtype=torch.float64, device=device)
            sums = trainer.strategy.reduce(values, reduce_op="sum").tolist()
        return sums[0], int(sums[1])

    def _read_losses(self) -> None:
        if self._losses:
            self._total += float(torch.stack(self._losses).cpu().double().sum())
            self._losses.clear()
