"""What lets a killed training go on: one checkpoint, replaced whole, within epochs by steps and by time, and at their ends."""

import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, cast

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from maskmill.data.datamodule import ResumableLoader
from maskmill.data.dataset import Batch
from maskmill.training.state import LAST

STOPPED = "maskmill.stopped_early"


class WholeFiles(TorchCheckpointIO):
    """Checkpoints that are whole or absent.

    Lightning's own writing ends in a move out of the system's temporary folder, which is a copy where that is another file system.
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: Any | None = None,
    ) -> None:
        """Write beside the place, then rename."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=target.parent, prefix=f".{target.name}.", delete=False
        ) as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(
                file.fileno()
            )  # else a crash of the machine could leave the new name with nothing behind it
        Path(file.name).replace(target)


class ResumeCheckpoint(Checkpoint):
    """Keep `last.ckpt` young, and on SIGTERM save it and leave.

    A checkpoint is never written between the last batch before a validation and that validation: Lightning would resume behind it, and its
    scores would be lost. The steps since the checkpoint before are done again then, and come out the same.

    Args:
        folder: the checkpoint's.
        before_saving: called before a checkpoint is written, as for metrics that are on their way: a checkpoint must not be ahead of them.
        every_n_steps: optimiser steps from one checkpoint to the next within an epoch; None for none by steps.
        every_n_seconds: the same by time; None for none by time.

    Raises:
        ValueError: a number that is not positive.
    """

    def __init__(
        self,
        *,
        folder: Path,
        before_saving: Callable[[], None] = lambda: None,
        every_n_steps: int | None = None,
        every_n_seconds: float | None = None,
    ) -> None:
        if (every_n_steps is not None and every_n_steps < 1) or (
            every_n_seconds is not None and not every_n_seconds > 0
        ):
            raise ValueError(
                "Expected `every_n_steps` and `every_n_seconds` above 0, or null for none, "
                f"but got {every_n_steps} and {every_n_seconds} - mend callbacks.resume"
            )
        self.path, self.before_saving = folder / LAST, before_saving
        self.every_n_steps, self.every_n_seconds = every_n_steps, every_n_seconds
        self._saved_step, self._saved_time = -1, 0.0
        self._told_to_leave = False
        self._loader_states: list[dict[str, int]] = []

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Remember the loader's place, and stop at once where the training had been told to stop early."""
        self._loader_states = checkpoint["loops"]["fit_loop"]["state_dict"].get(
            "combined_loader", []
        )
        trainer.should_stop = bool(checkpoint.get(STOPPED))

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add what Lightning leaves out: whether the training was told to stop early."""
        checkpoint[STOPPED] = trainer.should_stop

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the loader to its place, which Lightning does not where the schedule has asked for the number of steps before.

        Start the clock, and take SIGTERM from Lightning, whose handler waits for other processes in the middle of whatever they do.
        """
        for state in self._loader_states:
            cast(ResumableLoader, trainer.train_dataloader).load_state_dict(state)
        self._loader_states = []
        self._saved_step, self._saved_time = (
            trainer.global_step,
            time.monotonic(),
        )  # resumed: the checkpoint is that of this step
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._on_sigterm)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Save where it is time to."""
        step = trainer.global_step
        if (
            step == self._saved_step
            or (batch_idx + 1) % trainer.accumulate_grad_batches
            or _validates_next(trainer, batch_idx)
        ):
            return  # half of an accumulation would be lost in a checkpoint
        by_steps = self.every_n_steps is not None and step % self.every_n_steps == 0
        by_time = (
            self.every_n_seconds is not None
            and time.monotonic() - self._saved_time >= self.every_n_seconds
        )
        if trainer.strategy.reduce_boolean_decision(
            by_steps or by_time or self._told_to_leave, all=False
        ):  # processes' clocks differ
            self._save(trainer)
            self._leave_if_told(trainer)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Leave, where told to, without a checkpoint of its own: the scores so far stand in none."""
        self._leave_if_told(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after a validation within an epoch."""
        if (
            trainer.state.fn == "fit"
            and not trainer.sanity_checking
            and trainer.fit_loop.batch_idx + 1 < trainer.num_training_batches
        ):
            self._save(trainer)
            self._leave_if_told(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after the others have looked at the epoch's scores, which stand in no checkpoint: this callback comes last."""
        self._save(trainer)
        self._leave_if_told(trainer)

    def _save(self, trainer: Trainer) -> None:
        self.before_saving()
        trainer.save_checkpoint(self.path, weights_only=False)  # the optimiser too
        self._saved_step, self._saved_time = trainer.global_step, time.monotonic()

    def _leave_if_told(self, trainer: Trainer) -> None:
        if trainer.strategy.reduce_boolean_decision(self._told_to_leave, all=False):
            raise InterruptedError(
                f"SIGTERM at step {trainer.global_step}: left, with the checkpoint of step {self._saved_step} in {self.path} - "
                "the same command goes on from it"
            )

    def _on_sigterm(self, signum: int, frame: FrameType | None) -> None:
        self._told_to_leave = True


def _validates_next(trainer: Trainer, batch_idx: int) -> bool:
    """Does a validation follow this batch, or may it?"""
    batches = trainer.num_training_batches
    every = min(float(trainer.val_check_batch or batches), batches)
    place = (
        batch_idx + 1
        if trainer.check_val_every_n_epoch is not None
        else trainer.fit_loop.total_batch_idx + 1
    )
    return batch_idx + 1 == batches or place % every == 0 or trainer.should_stop
