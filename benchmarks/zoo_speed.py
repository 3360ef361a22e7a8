"""Images per second and peak memory of six networks, training and predicting, through our tasks and a real Lightning Trainer.

    python benchmarks/zoo_speed.py [--networks unet eomt ...] [--side 512] [--batch 8] [--steps 20] [--accelerator gpu] [--devices 1]
        [--vary bf16 channels_last compile] [--threads 1] [--set encoder=timm encoder.name=resnet50 ...]

Every row is a process of its own, so that its memory is its own. `--vary` adds a row with each of these switched on, and one with all.
Batches are in memory: squares of `--side` px in blocks of 19 classes, 8 of them things, each block an object. The step is the whole step of
training (loss, matching, clipping, AdamW) and the whole of predicting (network and segments, without metrics); the first steps warm up
and compile, and the median of the others counts: by the clock on a GPU, on the CPU by the processor time of its threads, which other work
on the machine hardly touches. Memory is that of tensors at its peak on a GPU (torch.cuda.max_memory_allocated), on the
CPU the peak resident memory of the process, Python and libraries included. With several devices, images per second are those of all
together and memory that of the first.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import time
import warnings

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from lightning import Callback, LightningModule, Trainer, seed_everything
from torch.utils.data import DataLoader

from maskmill.assembly.configuration import packaged_conf
from maskmill.assembly.training_job import build_task
from maskmill.canonical.categories import Categories, Category, color_of
from maskmill.training.callbacks import StepSeed
from maskmill.training.memory import Memory
from maskmill.training.speed import ChannelsLast, Compiled

MASKS = ["task=panoptic_masks", "loss=mask_classification"]
SEMANTIC = ["task=semantic", "loss=cross_entropy_dice"]
NETWORKS = {
    "unet": ["network=unet", "encoder=resnet18", *SEMANTIC],
    "deeplabv3plus": ["network=deeplabv3plus", "encoder=resnet18", *SEMANTIC],
    "segformer": ["network=segformer", "encoder=pvt_v2_b0", *SEMANTIC],
    "panoptic_deeplab": [
        "network=panoptic_deeplab",
        "encoder=resnet18",
        "task=panoptic",
        "loss=panoptic_deeplab",
    ],
    "mask2former": ["network=mask2former", "encoder=resnet18", *MASKS],
    "eomt": ["network=eomt", "encoder=vit_tiny", *MASKS],
}
OPTIONS = ("bf16", "channels_last", "compile")
CLASSES = Categories(
    Category(key, f"class {key}", key > 11, color_of(key)) for key in range(1, 20)
)  # as many as Cityscapes has
BLOCK_PX, WARM_UP = 64, 3


def batch_of(number, side, seed):
    """Images of noise in blocks of one class each, as the datamodule would hand them out."""
    rng = np.random.default_rng(seed)
    blocks = -(-side // BLOCK_PX)
    classes = rng.integers(0, 19, (number, blocks, blocks))
    things = classes >= 11
    objects = things.reshape(number, -1).cumsum(axis=1).reshape(things.shape) * things
    semantic, instance = (
        np.kron(grid, np.ones((BLOCK_PX, BLOCK_PX), int))[:, :side, :side]
        for grid in (classes, objects)
    )
    image = (semantic * 12)[:, None] + rng.integers(0, 20, (number, 3, side, side))
    return {
        "image": torch.from_numpy(image.astype(np.uint8)),
        "semantic": torch.from_numpy(semantic.astype(np.uint8)),
        "instance": torch.from_numpy(instance.astype(np.int32)),
        "size": [(side, side)] * number,
        "index": list(range(number)),
    }


class Clock(Callback):
    """Seconds of each step after the first ones, with what the device does for it."""

    def __init__(self, memory):
        self.memory, self.ends = memory, []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.note()

    def on_predict_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        self.note()

    def note(self):
        self.memory.wait()
        self.ends.append(
            time.process_time() / torch.get_num_threads()
            if self.memory.device.type == "cpu"
            else time.perf_counter()
        )

    def seconds(self):
        return float(np.median(np.diff(self.ends[WARM_UP - 1 :])))


class Predicting(LightningModule):
    """The task as it predicts: the network, and what makes segments of its outputs."""

    def __init__(self, task):
        super().__init__()
        self.task, self.network = task, task.network

    def predict_step(self, batch, batch_idx):
        return len(self.task.postprocess(self.network(batch["image"]), batch["size"]))


def trainer_of(options, on, *callbacks):
    """A Trainer with the options that are on."""
    speed = ([ChannelsLast()] if "channels_last" in on else []) + (
        [Compiled()] if "compile" in on else []
    )
    return Trainer(
        accelerator=options.accelerator,
        devices=options.devices,
        strategy="ddp" if options.devices > 1 else "auto",
        precision="bf16-mixed" if "bf16" in on else "32-true",
        max_epochs=1,
        gradient_clip_val=1.0,
        callbacks=[StepSeed(0), *speed, *callbacks],
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def measure(options, network, on):
    """One row: predicting first, since its peak of memory is the lower one."""
    torch.set_num_threads(options.threads)
    with initialize_config_dir(str(packaged_conf()), version_base="1.3"):
        cfg = compose(
            "config", [*NETWORKS[network], "scheduler=constant", "optimizer=adamw", *options.set]
        )
    seed_everything(0, verbose=False)
    task = build_task(cfg, CLASSES)
    batches = [batch_of(options.batch, options.side, seed) for seed in range(4)]
    loader = DataLoader(
        [batches[step % len(batches)] for step in range(WARM_UP + options.steps)], batch_size=None
    )
    row = {"weights": sum(weight.numel() for weight in task.network.parameters())}
    memory = Memory(trainer_of(options, on).strategy.root_device)
    for kind in ("predict", "train"):
        memory.restart()
        clock = Clock(memory)
        trainer = trainer_of(options, on, clock)
        if kind == "predict":
            trainer.predict(Predicting(task), loader, return_predictions=False)
        else:
            trainer.fit(task, loader)
        row[kind] = options.batch * trainer.world_size / clock.seconds()
        row[f"{kind}_memory"] = memory.peak()
    if trainer.is_global_zero:
        print(json.dumps(row), flush=True)


def rows(options):
    """What is on in each row."""
    yield ()
    yield from ((option,) for option in options.vary)
    if len(options.vary) > 1:
        yield tuple(options.vary)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--accelerator", default="gpu", choices=["cpu", "gpu"])
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--vary", nargs="*", default=[], choices=OPTIONS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--set", nargs="*", default=[], help="further overrides of the configuration"
    )
    parser.add_argument(
        "--one", nargs="+", help="of this program: a network and what is on, as a row of JSON"
    )
    options = parser.parse_args()
    if options.one:
        warnings.filterwarnings("ignore")
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        measure(options, options.one[0], options.one[1:])
        return
    print(
        f"{options.side} px, batches of {options.batch} on each of {options.devices} {options.accelerator}"
    )
    print(
        "| network | on | weights | training, images/s | memory | predicting, images/s | memory |\n|---|---|---|---|---|---|---|"
    )
    for network in options.networks:
        for on in rows(options):
            line = [sys.executable, *sys.argv, "--one", network, *on]
            result = subprocess.run(
                line, stdout=subprocess.PIPE, text=True, check=False, env=os.environ
            )
            if result.returncode != 0:
                print(
                    f"| {network} | {', '.join(on) or '-'} | failed with status {result.returncode} | | | | |",
                    flush=True,
                )
                continue
            row = json.loads(result.stdout.splitlines()[-1])
            cells = [network, ", ".join(on) or "-", f"{row['weights'] / 1e6:.1f} M"]
            for kind in ("train", "predict"):
                cells += [f"{row[kind]:.2f}", f"{row[f'{kind}_memory'] / 1e9:.2f} GB"]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
