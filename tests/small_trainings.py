"""Parts of whole small trainings: a network of two layers with statistics and dropout, and callbacks that end or watch one."""

import os
import signal

from lightning import Callback
from torch import nn


class Tiny(nn.Module):
    """Two convolutions; batch statistics and dropout, which a bent resume would show."""

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


class Killed(Exception):  # noqa: N818 - no error
    """Stands for a kill: nothing of the process survives but its files."""


class At(Callback):
    """Do something at a batch, before its step or in a validation batch."""

    def __init__(self, epoch, batch, validating=False):
        self.where, self.validating = (epoch, batch), validating

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if not self.validating and (trainer.current_epoch, batch_idx) == self.where:
            self.act()

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        if self.validating and (trainer.current_epoch, batch_idx) == self.where:
            self.act()


class KillAt(At):
    def act(self):
        raise Killed


class TermAt(At):
    """Send this process SIGTERM, as a cluster does that takes its machine back."""

    def act(self):
        os.kill(os.getpid(), signal.SIGTERM)


class KillAtTheEnd(Callback):
    def on_train_end(self, trainer, pl_module):
        raise Killed


class Samples(Callback):
    """The places of the samples of each batch."""

    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.seen.append(batch["index"])
