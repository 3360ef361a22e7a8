"""Loss and throughput of the training steps.

They are read every n steps only, since reading a value makes a GPU's steps wait.
"""

import time
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from maskmill.data.dataset import Batch
from maskmill.tasks.segmentation import StepOutput


class StepLog(Callback):
    """Log the steps every `trainer.log_every_n_steps`.

    Logged values: the loss and its terms, the highest learning rate, images per second, and the
    fraction of time spent waiting for data. Validation, checkpoints and pictures do not count in
    that time.
    """

    def __init__(self) -> None:
        self._logged_step = -1
        self._start = 0.0
        self._requested = 0.0  # when the next batch was asked for
        self._waiting_s = 0.0
        self._num_images = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock: a run resumed within an epoch does not start that epoch again."""
        self._restart()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restart the clock after the end of the previous epoch."""
        self._restart()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restart the clock: validation does not count."""
        self._restart()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Add the time spent waiting for this batch."""
        self._waiting_s += time.perf_counter() - self._requested

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Log if it is time, then wait for the next batch."""
        self._num_images += len(batch["image"]) * trainer.world_size
        step = trainer.global_step
        # The attribute is set by the Trainer's logger connector.
        interval: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if step % interval == 0 and step not in (0, self._logged_step):
            self._logged_step = step
            self._log(trainer, pl_module, outputs)
        self._requested = time.perf_counter()

    def _log(self, trainer: Trainer, pl_module: LightningModule, outputs: StepOutput) -> None:
        # Reading the loss waits for the device, so the time below is that of complete steps.
        # Lightning divides it by the number of accumulated batches.
        loss = float(outputs["loss"]) * trainer.accumulate_grad_batches
        seconds = time.perf_counter() - self._start
        values = {"train/loss": loss}
        for name, term in outputs["terms"].items():
            values[f"train/loss/{name}"] = float(term)
        values["train/lr"] = max(group["lr"] for group in trainer.optimizers[0].param_groups)
        values["train/images_per_second"] = self._num_images / seconds
        values["train/waiting_for_data"] = self._waiting_s / seconds
        if pl_module.device.type == "cuda":
            values["train/gpu_memory_gb"] = torch.cuda.max_memory_allocated(pl_module.device) / 1e9
        for key in ("train/loss", "train/images_per_second"):
            pl_module.log(key, values[key], prog_bar=True, logger=False, batch_size=1)
        values["epoch"] = trainer.current_epoch
        for logger in trainer.loggers:
            # Lightning counts steps from 0 too.
            logger.log_metrics(values, step=trainer.global_step - 1)
        self._restart()

    def _restart(self) -> None:
        self._start = time.perf_counter()
        self._requested = self._start
        self._waiting_s = 0.0
        self._num_images = 0
