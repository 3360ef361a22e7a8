"""Training steps of six networks with the options of `benchmarks/zoo_speed.py`."""

import time
import traceback
import warnings
from collections import Counter
from types import SimpleNamespace

import torch
from benchmarks.exported_networks import configuration
from benchmarks.zoo_speed import (
    CLASSES,
    WARM_UP_STEPS,
    Clock,
    build_loader,
    build_trainer,
)
from lightning import Callback, seed_everything

from maskmill.assembly.training_parts import build_task
from maskmill.training.memory import Memory

RESNET50 = ("encoder=timm", "encoder.name=resnet50")
# Overrides of the configuration, as on a GPU and as in a dry run
NETWORKS = {
    "U-Net": ((*RESNET50, "network=unet"), ("network=unet",)),
    "DeepLabV3+": ((*RESNET50, "network=deeplabv3plus"), ("network=deeplabv3plus",)),
    "SegFormer": (
        ("network=segformer", "encoder=timm", "encoder.name=pvt_v2_b2"),
        ("network=segformer", "encoder=pvt_v2_b0"),
    ),
    "Panoptic-DeepLab": (
        (
            *(*RESNET50, "network=panoptic_deeplab", "loss=panoptic_deeplab_paper"),
            *("network.width=256", "network.atrous_rates=[6,12,18]"),
        ),
        ("network=panoptic_deeplab",),
    ),
    "Mask2Former": ((*RESNET50, "network=mask2former_base"), ("network=mask2former",)),
    "EoMT": (
        (
            *("network=eomt", "encoder=timm", "encoder.name=vit_base_patch16_224"),
            *("network.num_queries=200", "network.num_blocks=4"),
        ),
        ("network=eomt",),
    ),
}
SYNCHRONISING = "synchronizing CUDA operation"  # words of torch's warning


class Synchronisations(Callback):
    """Counts how often one step waits for the device, and where."""

    def __init__(self, device):
        self.is_on = device == "cuda"
        self.origins = Counter()
        self._caught = None

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if self.is_on and batch_idx == WARM_UP_STEPS - 1:
            self._caught = warnings.catch_warnings(record=True)
            self.seen = self._caught.__enter__()
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        self._end()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self._end()

    def _end(self):
        if self._caught is None:
            return
        torch.cuda.set_sync_debug_mode("default")
        self._caught.__exit__(None, None, None)
        self._caught = None
        for warning in self.seen:
            if SYNCHRONISING in str(warning.message):
                path = "/".join(warning.filename.split("/")[-2:])
                self.origins[f"{path}:{warning.lineno}"] += 1


def measure_step(part, name, options, num_steps=None):
    """Report a row for one network; an error becomes the row's note, so that the others go on."""
    row = {"network": name, "options": ", ".join(options) or "-"}
    try:
        cells = train_steps(part, name, options, num_steps or part.size(12, 2))
    except Exception as error:  # noqa: BLE001 - whatever a device raises
        traceback.print_exc()
        cells = {"note": f"{type(error).__name__}: {str(error)[:150]}"}
    settings = settings_of(part, 1)
    title = f"Batches of {settings.batch} squares of {settings.side} px"
    part.row(title, **row, **cells)


def train_steps(part, name, options, num_steps):
    settings = settings_of(part, num_steps)
    overrides = part.size(*NETWORKS[name])
    seed_everything(0, verbose=False)
    task = build_task(configuration(*overrides, "scheduler=constant"), CLASSES)
    memory = Memory(torch.device(part.device))
    memory.restart()
    clock = Clock(memory)
    waits = Synchronisations(part.device)
    trainer = build_trainer(settings, options, clock, waits)
    start = time.perf_counter()
    trainer.fit(task, build_loader(settings))
    seconds = time.perf_counter() - start
    cells = {
        "images_per_second": round(settings.batch / clock.seconds(), 2),
        "memory_GB": round(memory.peak() / 1e9, 2),
        "waits_in_a_step": waits.origins.total(),
        "first_steps_s": round(seconds - num_steps * clock.seconds(), 1),
    }
    for origin, count in waits.origins.most_common(12):
        part.row("Where a step waits for the device", network=name, line=origin, times=count)
    torch.use_deterministic_algorithms(False)
    del task, trainer
    memory.restart()
    return cells


def settings_of(part, num_steps):
    return SimpleNamespace(
        accelerator=part.accelerator,
        devices=1,
        side=part.size(512, 64),
        batch=part.size(16, 2),
        steps=num_steps,
    )
