"""Losses and throughput of the training steps: read every n steps only, since reading a value makes a GPU's steps wait."""

import time
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from maskmill.data.dataset import Batch


class StepLog(Callback):
    """Log every `trainer.log_every_n_steps`: the loss and its terms, images per second, and the share of time spent waiting for data.

    Validation, checkpoints and pictures are not part of that time.
    """

    def __init__(self) -> None:
        self._start = self._asked = self._waited = 0.0
        self._images, self._logged = 0, -1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; a training resumed within an epoch has no start of that epoch."""
        self._restart()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock anew after the end of the epoch before."""
        self._restart()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock anew: what came before is in no step's time."""
        self._restart()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """The batch has come."""
        self._waited += time.perf_counter() - self._asked

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Log where it is due, then wait for the next batch."""
        self._images += len(batch["image"]) * trainer.world_size
        step = trainer.global_step
        if step % trainer.log_every_n_steps == 0 and step != self._logged:  # type: ignore[attr-defined] # its logger connector sets it
            self._logged = step
            self._log(trainer, pl_module, outputs)
        self._asked = time.perf_counter()

    def _log(self, trainer: Trainer, pl_module: LightningModule, outputs: dict[str, Any]) -> None:
        loss = float(
            outputs["loss"]
        )  # waits for the device, so that the time below is that of whole steps
        seconds = time.perf_counter() - self._start
        values = {"train/loss": loss} | {
            f"train/loss/{name}": float(term) for name, term in outputs["terms"].items()
        }
        values |= {
            "train/images_per_second": self._images / seconds,
            "train/waiting_for_data": self._waited / seconds,
        }
        if pl_module.device.type == "cuda":
            values["train/gpu_memory_gb"] = torch.cuda.max_memory_allocated(pl_module.device) / 1e9
        for key in ("train/loss", "train/images_per_second"):
            pl_module.log(key, values[key], prog_bar=True, logger=False, batch_size=1)
        for logger in trainer.loggers:
            logger.log_metrics(
                values | {"epoch": trainer.current_epoch}, step=trainer.global_step - 1
            )  # Lightning counts from 0 too
        self._restart()

    def _restart(self) -> None:
        self._start = self._asked = time.perf_counter()
        self._waited, self._images = 0.0, 0
