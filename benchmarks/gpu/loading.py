"""Speed of the loader, and of training steps with and without it."""

import os
import time
from types import SimpleNamespace

import albumentations
import torch
from benchmarks.exported_networks import configuration
from benchmarks.grouping import CATEGORIES
from benchmarks.zoo_speed import build_trainer
from lightning import Callback, seed_everything
from torch.utils.data import DataLoader

from maskmill.assembly.training_parts import build_task
from maskmill.data.datamodule import SegmentationDataModule
from maskmill.data.transforms import Augmentation
from maskmill.training.memory import Memory

WARM_UP_STEPS = 3


def count_cores():
    return len(os.sched_getaffinity(0))


def make_data(part, num_workers):
    crop = part.size((512, 1024), (64, 128))
    resized_crop = albumentations.RandomResizedCrop(
        crop, scale=(0.25, 1.0), ratio=(1.5, 2.5), mask_interpolation=0
    )
    return SegmentationDataModule(
        str(part.large),
        Augmentation([resized_crop, albumentations.HorizontalFlip()]),
        crop_size=crop,
        batch_size=part.size(8, 2),
        num_workers=num_workers,
        seed=0,
    )


def measure_loader(part, num_workers):
    """Images per second of the loader alone, after an epoch that starts its processes."""
    loader = make_data(part, num_workers).train_dataloader()
    num_epochs = part.size(4, 1)
    count_images(loader)
    start = time.perf_counter()
    num_images = sum(count_images(loader) for _ in range(num_epochs))
    return num_images / (time.perf_counter() - start)


def count_images(loader):
    return sum(len(batch["image"]) for batch in loader)


class Waiting(Callback):
    """Seconds of the steps after the warm-up, and of waiting for their batches."""

    def __init__(self, memory):
        self.memory = memory
        self.waiting_s = 0.0
        self.start = self.end = None

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if self.start is not None:
            self.waiting_s += time.perf_counter() - self.end

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step < WARM_UP_STEPS:
            return
        if self.start is None:
            self.memory.wait()
            self.start = time.perf_counter()
        self.end = time.perf_counter()


def measure_training(part, in_memory, data):
    """Images per second and the share of time spent waiting for batches.

    Args:
        part: the running part.
        in_memory: batches.
        data: loads them from files; None repeats those in memory.
    """
    num_steps = WARM_UP_STEPS + part.size(8, 2) * len(in_memory)
    seed_everything(0, verbose=False)
    overrides = ["network=deeplabv3plus", "encoder=resnet18", "scheduler=constant"]
    task = build_task(configuration(*overrides), CATEGORIES)
    memory = Memory(torch.device(part.device))
    waiting = Waiting(memory)
    settings = SimpleNamespace(accelerator=part.accelerator, devices=1)
    trainer = build_trainer(
        settings,
        ("bf16", "channels_last"),
        waiting,
        max_epochs=-1,
        max_steps=num_steps,
        limit_val_batches=0,
    )
    if data is None:
        batches = [in_memory[step % len(in_memory)] for step in range(num_steps)]
        data = DataLoader(batches, batch_size=None, pin_memory=not part.smoke)
    trainer.fit(task, data)
    memory.wait()
    seconds = time.perf_counter() - waiting.start
    num_images = (num_steps - WARM_UP_STEPS) * len(in_memory[0]["image"])
    return num_images / seconds, waiting.waiting_s / seconds
