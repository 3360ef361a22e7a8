"""Components of small trainings: a tiny network, and callbacks that stop or watch a training."""

import os
import signal

from lightning import Callback
from torch import nn


class Tiny(nn.Module):
    """Two convolutions with batch statistics and dropout, which would reveal an inexact resume."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout2d(0.3),
            nn.Conv2d(8, 4, 1),
        )

    def forward(self, image):
        return {"semantic": self.layers(image.float() / 255)}


class Killed(Exception):  # noqa: N818 - not an error
    """Simulates a kill: nothing of the process survives but its files."""


class ActAt(Callback):
    """Calls `act` at a batch: before a training step, or in validation."""

    def __init__(self, epoch, batch, validating=False):
        self.position = (epoch, batch)
        self.validating = validating

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if not self.validating and (trainer.current_epoch, batch_idx) == self.position:
            self.act()

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        if self.validating and (trainer.current_epoch, batch_idx) == self.position:
            self.act()


class KillAt(ActAt):
    def act(self):
        raise Killed


class TermAt(ActAt):
    """Sends SIGTERM to this process, as a cluster does when it reclaims a machine."""

    def act(self):
        os.kill(os.getpid(), signal.SIGTERM)


class KillAtTheEnd(Callback):
    def on_train_end(self, trainer, pl_module):
        raise Killed


class Samples(Callback):
    """The sample indices of each batch."""

    def __init__(self):
        self.batches = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.batches.append(batch["index"])


class Losses(Callback):
    """The loss of each training batch."""

    def __init__(self):
        self.values = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.values.append(float(outputs["loss"]))
