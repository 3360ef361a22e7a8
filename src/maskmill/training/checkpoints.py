"""Checkpoints: the best weights, and the state from which a killed run resumes."""

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, cast

import torch
from annotated_types import Ge, Gt
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from torch import Tensor

from maskmill.data.datamodule import ResumableLoader
from maskmill.data.dataset import Batch
from maskmill.training.checkpoint_files import LAST
from maskmill.training.context import RunContext
from maskmill.training.validation_schedule import (
    is_last_batch,
    require_checkpoint_settings,
    validate_at_the_end,
)

STOPPED_EARLY = "maskmill.stopped_early"


class BestCheckpoint(ModelCheckpoint):
    """Keeps the checkpoints with the best score of the task (`monitor` of the task).

    An undefined score (NaN) is the worst one; among undefined scores the last checkpoint is kept.
    The last weights are always validated, whatever the interval of validations.

    Args:
        filename: file name without suffix; `{epoch:03d}` is replaced.
        save_top_k: number of checkpoints to keep; -1 keeps all.
    """

    def __init__(
        self,
        *,
        filename: str = "best-{epoch:03d}",
        save_top_k: Annotated[int, Ge(-1)] = 1,
    ) -> None:
        super().__init__(
            filename=filename,
            monitor="the task's score",  # replaced in setup; Lightning requires one for save_top_k
            mode="max",
            save_top_k=save_top_k,
            enable_version_counter=False,
            auto_insert_metric_name=False,
        )

    def attach(self, context: RunContext) -> None:
        """Write to the folder of the run."""
        self.dirpath = str(context.folder.resolve())

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Monitor the task's score.

        Raises:
            ValueError: with these settings there would be no checkpoint.
        """
        require_checkpoint_settings(trainer)
        self.monitor = str(pl_module.monitor)
        super().setup(trainer, pl_module, stage)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Score the last weights too; Lightning calls checkpoints after its timer."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        validate_at_the_end(trainer, batch_idx)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best scores, also if the folder of the run has been moved."""
        folder = Path(str(self.dirpath))
        moved: dict[str, Any] = {**state_dict, "dirpath": self.dirpath, "best_k_models": {}}
        for path, score in state_dict["best_k_models"].items():
            moved["best_k_models"][str(folder / Path(path).name)] = score
        for key in ("best_model_path", "kth_best_model_path"):
            moved[key] = str(folder / Path(moved[key]).name) if moved[key] else ""
        super().load_state_dict(moved)

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Is this score among the best? Lightning keeps the first of several undefined ones."""
        worst_kept = self.best_k_models.get(self.kth_best_model_path)
        is_undefined = current is not None and bool(current.isnan())
        if is_undefined and worst_kept is not None and bool(worst_kept == -torch.inf):
            return True
        return super().check_monitor_top_k(trainer, current)


class ResumeCheckpoint(Checkpoint):
    """Keeps `last.ckpt` recent; after SIGTERM, saves it and stops the training.

    No checkpoint is written between the last batch before a validation and that validation:
    Lightning would resume behind the validation, whose scores would be lost. The steps since the
    previous checkpoint are then repeated, with the same result.

    Args:
        every_n_steps: interval in optimizer steps within an epoch; None: not by steps.
        every_n_seconds: interval in seconds, also at the ends of epochs; None: not by time, and at
            the end of every epoch.
    """

    def __init__(
        self,
        *,
        every_n_steps: Annotated[int, Ge(1)] | None = None,
        every_n_seconds: Annotated[float, Gt(0)] | None = None,
    ) -> None:
        self.path = Path(LAST)
        self._flush: Callable[[], None] = lambda: None
        self.every_n_steps = every_n_steps
        self.every_n_seconds = every_n_seconds
        self._saved_step = -1
        self._saved_time = 0.0
        self._received_sigterm = False
        self._loader_states: list[dict[str, int]] = []

    def attach(self, context: RunContext) -> None:
        """Write to the folder of the run, after its pending metrics."""
        self.path = context.folder / LAST
        self._flush = context.flush

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Remember the loader's position; stop at once if the training had stopped early."""
        fit_loop = checkpoint["loops"]["fit_loop"]["state_dict"]
        self._loader_states = fit_loop.get("combined_loader", [])
        trainer.should_stop = bool(checkpoint.get(STOPPED_EARLY))

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add a fact that Lightning does not save: whether the training has stopped early."""
        checkpoint[STOPPED_EARLY] = trainer.should_stop

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the loader's position, start the clock, and handle SIGTERM.

        Lightning does not restore the position if the schedule has asked for the number of steps
        before. Its own handler of SIGTERM waits for the other processes, whatever they are doing.
        """
        for state in self._loader_states:
            cast(ResumableLoader, trainer.train_dataloader).load_state_dict(state)
        self._loader_states = []
        self._note_saved(trainer)  # a resumed run starts at the step of its checkpoint
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
        """Save a checkpoint if one is due."""
        step = trainer.global_step
        is_accumulating = (batch_idx + 1) % trainer.accumulate_grad_batches != 0
        # A checkpoint within an accumulation would lose its gradients.
        if step == self._saved_step or is_accumulating or _may_validate_next(trainer, batch_idx):
            return
        is_due = self._is_due(step) or self._received_sigterm
        # The clocks of the processes differ, so they decide together.
        if trainer.strategy.reduce_boolean_decision(is_due, all=False):
            self._save(trainer)
            self._stop_after_sigterm(trainer)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Stop after SIGTERM, without a new checkpoint: none contains a validation's scores."""
        self._stop_after_sigterm(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after a validation within an epoch."""
        is_fitting = trainer.state.fn == "fit" and not trainer.sanity_checking
        if is_fitting and trainer.fit_loop.batch_idx + 1 < trainer.num_training_batches:
            self._save(trainer)
            self._stop_after_sigterm(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save at the end of an epoch if it is time, and at that of the training.

        This callback runs last: the others have used the epoch's scores, which no checkpoint has.
        """
        is_last = is_last_batch(trainer, int(trainer.num_training_batches) - 1)
        is_due = self.every_n_seconds is None or self._is_due(trainer.global_step)
        is_needed = is_due or is_last or self._received_sigterm
        if trainer.strategy.reduce_boolean_decision(is_needed, all=False):
            self._save(trainer)
            self._stop_after_sigterm(trainer)

    def _is_due(self, step: int) -> bool:
        if self.every_n_steps is not None and step % self.every_n_steps == 0:
            return True
        if self.every_n_seconds is None:
            return False
        return time.monotonic() - self._saved_time >= self.every_n_seconds

    def _save(self, trainer: Trainer) -> None:
        self._flush()
        trainer.save_checkpoint(self.path, weights_only=False)  # also the optimizer
        self._note_saved(trainer)

    def _note_saved(self, trainer: Trainer) -> None:
        self._saved_step = trainer.global_step
        self._saved_time = time.monotonic()

    def _stop_after_sigterm(self, trainer: Trainer) -> None:
        if trainer.strategy.reduce_boolean_decision(self._received_sigterm, all=False):
            kept = "before the first checkpoint - the same command starts from the beginning"
            if self._saved_step > 0:
                kept = (
                    f"with the checkpoint of step {self._saved_step} in {self.path} - the same "
                    "command resumes from it"
                )
            raise InterruptedError(
                f"received SIGTERM at step {trainer.global_step}: stopped, {kept}"
            )

    def _on_sigterm(self, signum: int, frame: FrameType | None) -> None:
        self._received_sigterm = True


def _may_validate_next(trainer: Trainer, batch_idx: int) -> bool:
    """May a validation follow this batch?"""
    num_batches = trainer.num_training_batches
    interval = min(float(trainer.val_check_batch or num_batches), num_batches)
    num_done = batch_idx + 1
    is_last = num_done == num_batches
    if trainer.check_val_every_n_epoch is None:  # the interval counts across epochs
        num_done = trainer.fit_loop.total_batch_idx + 1
    return is_last or num_done % interval == 0 or is_last_batch(trainer, batch_idx)


def best_score(trainer: Trainer) -> float:
    """The best validation score, a fraction; 0, the worst, if the score was never defined.

    A sweeper cannot use NaN, and JSON has no infinity.
    """
    score = getattr(trainer.checkpoint_callback, "best_model_score", None)
    return 0.0 if score is None else max(0.0, float(score))
