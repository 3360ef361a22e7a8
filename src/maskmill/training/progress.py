"""How far a training is: a bar on a terminal, a line a minute elsewhere."""

import logging
import time
from typing import Any

import psutil
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar

from maskmill.data.dataset import Batch

log = logging.getLogger(__name__)


class Progress:
    """Facts about a running training, in the words shown."""

    def __init__(self) -> None:
        self._start, self._first_step = time.monotonic(), 0

    def begin(self, trainer: Trainer) -> None:
        """Start the clock at the step the training begins or goes on at."""
        self._start, self._first_step = time.monotonic(), trainer.global_step

    def facts(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, str]:
        """Loss, the task's own score, images per second, memory of this process (and of its GPU), time left with validation and all."""
        metrics, monitor = trainer.callback_metrics, str(getattr(pl_module, "monitor", ""))
        names = {"train/loss": "loss", monitor: monitor, "train/images_per_second": "images/s"}
        facts = {
            name: f"{float(metrics[key]):.4g}" for key, name in names.items() if key in metrics
        }
        memory = f"{psutil.Process().memory_info().rss / 1e9:.1f} GB"
        if pl_module.device.type == "cuda":
            memory += f", GPU {torch.cuda.max_memory_allocated(pl_module.device) / 1e9:.1f} GB"
        return facts | {"memory": memory, "left": self._left(trainer)}

    def _left(self, trainer: Trainer) -> str:
        done, total = (
            trainer.global_step - self._first_step,
            float(trainer.estimated_stepping_batches) - self._first_step,
        )
        if done < 1 or total == float("inf"):
            return "?"
        seconds = int((time.monotonic() - self._start) / done * (total - done))
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


class Bar(TQDMProgressBar):
    """Lightning's bar with these facts; drawn every tenth step."""

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
        """What stands behind the bar."""
        return {**self._progress.facts(trainer, pl_module)}


class Lines(Callback):
    """A line a minute within epochs, where there is no terminal.

    Args:
        every_seconds: between lines.
    """

    def __init__(self, every_seconds: float = 60.0) -> None:
        self.every_seconds = every_seconds
        self._progress, self._said = Progress(), 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._progress.begin(trainer)
        self._said = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Write the line where it is time."""
        if time.monotonic() - self._said < self.every_seconds or not trainer.is_global_zero:
            return
        self._said = time.monotonic()
        facts = "  ".join(
            f"{name} {value}" for name, value in self._progress.facts(trainer, pl_module).items()
        )
        log.info(
            "epoch %d, step %d of %d  %s",
            trainer.current_epoch + 1,
            batch_idx + 1,
            trainer.num_training_batches,
            facts,
        )
