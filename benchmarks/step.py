"""What a training step of `maskmill train` costs beside a bare PyTorch loop of the same network on the same batches, as a ratio.

    python benchmarks/step.py PREPARED [--tiles 1] [--rounds 15] [--files] [overrides of maskmill train ...]

Both train the configured network with its loss, optimiser, schedule and clipping; ours with everything `maskmill train` has: MLflow,
losses, rates, checkpoints, seeds per step, the check of the loss. Blocks of ten steps take turns in one process, and the median of the
blocks' ratios counts: what else the machine does hits both. Batches are in memory, tiled to `--tiles` times the crop's height and width;
with `--files` ours loads them from PREPARED with the configured loader processes, and the bare loop still has them in memory.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from lightning import Callback, LightningDataModule, seed_everything
from torch.utils.data import DataLoader

from maskmill.assembly.build import build
from maskmill.assembly.configuration import packaged_conf
from maskmill.assembly.training_job import (
    build_task,
    build_trainer,
    read_dataset,
    tracked,
    training_config,
)
from maskmill.canonical.categories import Categories
from maskmill.data.datamodule import SegmentationDataModule
from maskmill.data.sampling import ShuffledSampler
from maskmill.data.transforms import Augmentation
from maskmill.tasks.optimization import configure
from maskmill.tracking.runs import Tracking
from maskmill.training.state import TrainingState

BLOCK = 10


def now():
    """Seconds on the clock, and those this process has computed: on a busy machine the second is the steadier one."""
    return np.array([time.perf_counter(), time.process_time()])


class Bare:
    """The loop without Lightning, MLflow or anything."""

    def __init__(self, task, batches, total_steps, clip):
        self.network, self.loss, self.batches, self.clip = (
            task.network.train(),
            task.loss,
            batches,
            clip,
        )
        built = configure(self.network, task.optimizer, task.scheduler, total_steps)
        self.optimizer, self.scheduler = built["optimizer"], built["lr_scheduler"]["scheduler"]

    def step(self, batch):
        loss = sum(self.loss(self.network(batch["image"]), batch).values())
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        self.optimizer.step()
        self.scheduler.step()

    def block(self):
        start = now()
        for place in range(BLOCK):
            self.step(self.batches[place % len(self.batches)])
        return now() - start


class Turns(Callback):
    """After each block of ours, one of the bare loop; the first of each warms up."""

    def __init__(self, bare):
        self.bare, self.ours, self.theirs = bare, [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if (batch_idx + 1) % BLOCK:
            return
        if batch_idx + 1 > BLOCK:
            self.ours.append(now() - self.start)
        seconds = self.bare.block()
        if batch_idx + 1 > BLOCK:
            self.theirs.append(seconds)
        self.start = now()


class InMemory(LightningDataModule):
    def __init__(self, batches, num_steps):
        super().__init__()
        self.steps = [batches[place % len(batches)] for place in range(num_steps)]

    def train_dataloader(self):
        return DataLoader(self.steps, batch_size=None)


class Again(ShuffledSampler):
    """Goes through the split until the steps are full."""

    def __len__(self):
        return Repeated.num_samples


class Repeated(SegmentationDataModule):
    """The real files, as often as the steps need."""

    num_samples = 0

    def train_dataloader(self):
        loader = super().train_dataloader()
        loader.sampler.__class__ = Again
        return loader


def tiled(batch, tiles):
    return {
        key: value.repeat(*[1] * (value.ndim - 2), tiles, tiles)
        if isinstance(value, torch.Tensor)
        else value
        for key, value in batch.items()
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--tiles", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--files", action="store_true")
    options, overrides = parser.parse_known_args()
    num_steps = BLOCK * (options.rounds + 1)
    prepared = options.prepared.resolve()
    with initialize_config_dir(str(packaged_conf()), version_base="1.3"):
        cfg = compose(
            "config",
            [
                f"data.root={prepared}",
                "trainer.max_epochs=1",
                "+trainer.limit_val_batches=0",
                *overrides,
            ],
        )
    dataset = read_dataset(str(prepared))
    categories = Categories.from_list(dataset["categories"])
    kind = Repeated if options.files else SegmentationDataModule
    settings = {key: value for key, value in cfg.data.items() if not key.startswith("_")} | {
        "crop_size": tuple(cfg.data.crop_size)
    }
    datamodule = kind(**settings, augmentation=build(cfg.augment, Augmentation))
    batches = [
        tiled(batch, options.tiles)
        for _, batch in zip(
            range(8), SegmentationDataModule.train_dataloader(datamodule), strict=False
        )
    ]
    Repeated.num_samples = num_steps * cfg.data.batch_size
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        seed_everything(0, verbose=False)
        task, other = build_task(cfg, categories), build_task(cfg, categories)
        turns = Turns(Bare(other, batches, num_steps, cfg.trainer.gradient_clip_val))
        state = TrainingState(Path("state"), "benchmark")
        with tracked(
            build(cfg.tracking, Tracking), state, training_config(cfg), dataset, compare=False
        ) as run_id:
            trainer = build_trainer(cfg, task, categories, state, run_id)
            trainer.callbacks.append(turns)
            trainer.fit(task, datamodule if options.files else InMemory(batches, num_steps))
        os.chdir("/")
    ours, theirs = np.array(turns.ours), np.array(turns.theirs)  # (blocks, 2)
    shape = tuple(batches[0]["image"].shape)
    print(
        f"{cfg.network._target_.rpartition('.')[2]}, images {shape}, {torch.get_num_threads()} threads, {len(ours)} blocks of {BLOCK} steps"
    )
    for kind, place in (("clock", 0), ("computed", 1)):
        low, median, high = np.percentile(ours[:, place] / theirs[:, place], (25, 50, 75))
        step = 1000 * np.median(theirs[:, place]) / BLOCK
        total = ours[:, place].sum() / theirs[:, place].sum()
        print(
            f"{kind:>8}: bare {step:.1f} ms a step; ours / bare {median:.3f} (quarters {low:.3f} to {high:.3f}), of the sums {total:.3f}"
        )


if __name__ == "__main__":
    main()
