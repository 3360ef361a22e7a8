"""Progress of a training: a bar on a terminal, a log line every minute elsewhere."""

import logging
import math
import time
from typing import Any

import psutil
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer, TQDMProgressBar

from maskmill.data.dataset import Batch
from maskmill.sources.progress import show_time

log = logging.getLogger(__name__)


class Progress:
    """Facts about a running training, as they are shown."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._first_step = 0

    def begin(self, trainer: Trainer) -> None:
        """Start the clock at the first step of this process."""
        self._start = time.monotonic()
        self._first_step = trainer.global_step

    def facts(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, str]:
        """Loss, the task's score, images per second, memory and time left, by name.

        Memory is that of this process and of its GPU. The time left includes validation.
        """
        metrics = trainer.callback_metrics
        monitor = str(getattr(pl_module, "monitor", ""))
        names = {"train/loss": "loss", monitor: monitor, "train/images_per_second": "images/s"}
        facts = {}
        for key, name in names.items():
            if key in metrics:
                facts[name] = f"{float(metrics[key]):.4g}"
        memory = f"{psutil.Process().memory_info().rss / 1e9:.1f} GB"
        if pl_module.device.type == "cuda":
            memory += f", GPU {torch.cuda.max_memory_allocated(pl_module.device) / 1e9:.1f} GB"
        return facts | {"memory": memory, "left": self.time_left(trainer)}

    def time_left(self, trainer: Trainer) -> str:
        """Time to the last step or to `trainer.max_time` as h:mm:ss; "?" if neither is known."""
        num_done = trainer.global_step - self._first_step
        num_steps = float(trainer.estimated_stepping_batches) - self._first_step
        limits = [math.inf]
        if num_done > 0:
            seconds_per_step = (time.monotonic() - self._start) / num_done
            limits.append(seconds_per_step * (num_steps - num_done))
        for callback in getattr(trainer, "callbacks", []):  # which Lightning sets without a type
            if isinstance(callback, Timer):
                limits.append(callback.time_remaining() or 0.0)
        left = min(limits)
        return "?" if left == math.inf else show_time(left)


class Bar(TQDMProgressBar):
    """Lightning's progress bar with these facts; drawn every tenth step."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=10)
        self._progress = Progress()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._progress.begin(trainer)
        super().on_train_start(trainer, pl_module)

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """The facts that follow the bar."""
        return {**self._progress.facts(trainer, pl_module)}


class Lines(Callback):
    """Log a line about once a minute within epochs, where there is no terminal.

    Args:
        every_seconds: interval between lines.
    """

    def __init__(self, every_seconds: float = 60.0) -> None:
        self.every_seconds = every_seconds
        self._progress = Progress()
        self._last_time = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._progress.begin(trainer)
        self._last_time = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Log the line if it is time."""
        is_due = time.monotonic() - self._last_time >= self.every_seconds
        if not is_due or not trainer.is_global_zero:
            return
        self._last_time = time.monotonic()
        facts = self._progress.facts(trainer, pl_module)
        log.info(
            "epoch %d, step %d of %d  %s",
            trainer.current_epoch + 1,
            batch_idx + 1,
            trainer.num_training_batches,
            "  ".join(f"{name} {value}" for name, value in facts.items()),
        )
