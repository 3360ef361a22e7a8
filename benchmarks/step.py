"""Cost of a training step of `maskmill train`, relative to a bare PyTorch loop.

    python benchmarks/step.py PREPARED [--tiles 1] [--rounds 15] [--files] [overrides of train ...]

Both train the configured network on the same batches with its loss, optimizer, schedule and
gradient clipping; ours with everything that `maskmill train` has: MLflow, losses, rates,
checkpoints, seeds of the steps, the check of the loss. Blocks of ten steps alternate in one
process, and the median of the blocks' ratios counts: other load on the machine hits both. Batches
are in memory, tiled to `--tiles` times the height and width of the crop. With `--files`, ours loads
them from PREPARED with the configured loader processes; those of the bare loop stay in memory.
"""

import argparse
import itertools
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
from maskmill.assembly.conf_search_path import packaged_conf
from maskmill.assembly.training_job import TrainingJob
from maskmill.assembly.training_parts import build_task
from maskmill.data.datamodule import SegmentationDataModule
from maskmill.data.sampling import ShuffledSampler
from maskmill.data.transforms import Augmentation
from maskmill.tasks.optimization import configure

BLOCK = 10  # steps
NUM_BATCHES = 8  # in memory


def now():
    """Seconds (2,): of the clock and of this process's CPU time, which other load affects less."""
    return np.array([time.perf_counter(), time.process_time()])


class BareLoop:
    """The loop without Lightning and MLflow."""

    def __init__(self, task, batches, total_steps, clip):
        self.network = task.network.train()
        self.loss = task.loss
        self.batches = batches
        self.clip = clip
        built = configure(self.network, task.optimizer, task.scheduler, total_steps)
        self.optimizer = built["optimizer"]
        self.scheduler = built["lr_scheduler"]["scheduler"]

    def step(self, batch):
        loss = sum(self.loss(self.network(batch["image"]), batch).values())
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        self.optimizer.step()
        self.scheduler.step()  # pyrefly: ignore[missing-argument] - it is no ReduceLROnPlateau

    def time_block(self):
        start = now()
        for index in range(BLOCK):
            self.step(self.batches[index % len(self.batches)])
        return now() - start


class Alternate(Callback):
    """Runs a block of the bare loop after each block of ours; the first of each warms up."""

    def __init__(self, bare_loop):
        self.bare_loop = bare_loop
        self.our_seconds = []
        self.bare_seconds = []
        self.start = now()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if (batch_idx + 1) % BLOCK:
            return
        our_seconds = now() - self.start
        bare_seconds = self.bare_loop.time_block()
        is_warm = batch_idx + 1 > BLOCK
        if is_warm:
            self.our_seconds.append(our_seconds)
            self.bare_seconds.append(bare_seconds)
        self.start = now()


class InMemory(LightningDataModule):
    """The given batches, repeated for `num_steps` steps."""

    def __init__(self, batches, num_steps):
        super().__init__()
        self.steps = list(itertools.islice(itertools.cycle(batches), num_steps))

    def train_dataloader(self):
        return DataLoader(self.steps, batch_size=None)


class RepeatedSampler(ShuffledSampler):
    """Repeats the split until there are enough samples."""

    def __len__(self):
        return FromFiles.num_samples


class FromFiles(SegmentationDataModule):
    """The real files, as often as the steps need them."""

    num_samples = 0

    def train_dataloader(self):
        loader = super().train_dataloader()
        loader.sampler.__class__ = RepeatedSampler
        return loader


def tiled(batch, tiles):
    """A batch whose images and maps are repeated along height and width."""
    result = dict(batch)
    for key, value in batch.items():
        if isinstance(value, torch.Tensor):
            leading = [1] * (value.ndim - 2)
            result[key] = value.repeat(*leading, tiles, tiles)
    return result


def read_batches(datamodule, tiles):
    loader = SegmentationDataModule.train_dataloader(datamodule)
    batches = itertools.islice(loader, NUM_BATCHES)
    return [tiled(batch, tiles) for batch in batches]


def compose_config(prepared, overrides):
    fixed = [f"data.root={prepared}", "trainer.max_epochs=1", "+trainer.limit_val_batches=0"]
    with initialize_config_dir(str(packaged_conf()), version_base="1.3"):
        return compose("config", [*fixed, *overrides])


def make_datamodule(cfg, num_steps, *, from_files):
    settings = {key: value for key, value in cfg.data.items() if not key.startswith("_")}
    settings["crop_size"] = tuple(cfg.data.crop_size)
    FromFiles.num_samples = num_steps * cfg.data.batch_size
    kind = FromFiles if from_files else SegmentationDataModule
    return kind(**settings, augmentation=build(cfg.augment, Augmentation))


def measure(cfg, datamodule, batches, num_steps, *, from_files):
    """Train in the current folder: seconds of our blocks and of the bare ones, each (blocks, 2)."""
    cfg.train.data = cfg.data.root
    job = TrainingJob(cfg)
    seed_everything(0, verbose=False)
    task = build_task(cfg, job.categories)
    bare_task = build_task(cfg, job.categories)
    clip = cfg.trainer.gradient_clip_val
    alternate = Alternate(BareLoop(bare_task, batches, num_steps, clip))
    trainer = job.build_trainer()
    with job.tracked() as run_id:
        job.log_to(run_id, trainer)
        trainer.callbacks.append(alternate)
        trainer.fit(task, datamodule if from_files else InMemory(batches, num_steps))
    return np.array(alternate.our_seconds), np.array(alternate.bare_seconds)


def print_ratio(name, our_seconds, bare_seconds):
    low, median, high = np.percentile(our_seconds / bare_seconds, (25, 50, 75))
    step_ms = 1000 * np.median(bare_seconds) / BLOCK
    ratio_of_sums = our_seconds.sum() / bare_seconds.sum()
    print(
        f"{name:>8}: bare {step_ms:.1f} ms a step; ours / bare {median:.3f} "
        f"(quartiles {low:.3f} to {high:.3f}), ratio of the sums {ratio_of_sums:.3f}"
    )


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
    cfg = compose_config(options.prepared.resolve(), overrides)
    datamodule = make_datamodule(cfg, num_steps, from_files=options.files)
    batches = read_batches(datamodule, options.tiles)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        ours, bare = measure(cfg, datamodule, batches, num_steps, from_files=options.files)
        os.chdir("/")
    network = cfg.network._target_.rpartition(".")[2]
    shape = tuple(batches[0]["image"].shape)
    num_threads = torch.get_num_threads()
    print(f"{network}, images {shape}, {num_threads} threads, {len(ours)} blocks of {BLOCK} steps")
    print_ratio("clock", ours[:, 0], bare[:, 0])
    print_ratio("CPU time", ours[:, 1], bare[:, 1])


if __name__ == "__main__":
    main()
