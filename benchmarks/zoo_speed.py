"""Images per second and peak memory of six networks, in training and prediction.

    python benchmarks/zoo_speed.py [--networks unet eomt ...] [--side 512] [--batch 8] [--steps 20]
        [--accelerator gpu] [--devices 1] [--vary bf16 channels_last compile] [--threads 1]
        [--set encoder=timm encoder.name=resnet50 ...]

Uses our tasks and a real Lightning Trainer. Each row is a separate process, so that its memory is
its own. `--vary` adds a row for each of these options, and one with all of them. Batches are in
memory: squares of `--side` px in blocks of 19 classes, 8 of them things, where each block is an
object. A training step includes loss, matching, clipping and AdamW. A prediction step includes the
network and post-processing, but no metrics. The first steps warm up and compile; the result is the
median of the others.

Time is wall time on a GPU. On a CPU it is the processor time of the threads, which other work on
the machine hardly changes. Memory is the peak of tensors on a GPU
(torch.cuda.max_memory_allocated), and on a CPU the peak resident memory of the process, with Python
and libraries. With several devices, images per second are the total, and memory is that of the
first device.
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

from maskmill.assembly.conf_search_path import packaged_conf
from maskmill.assembly.training_parts import build_task
from maskmill.canonical.categories import Categories, Category, color_of
from maskmill.postprocess.torch_network import as_arrays
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
OPTIONS = ("bf16", "channels_last", "compile", "deterministic")
CLASSES = Categories(
    Category(key, f"class {key}", key > 11, color_of(key)) for key in range(1, 20)
)  # as many as Cityscapes has
BLOCK_PX = 64
WARM_UP_STEPS = 3


def draw_batch(batch_size, side, seed):
    """Images of noise in blocks of one class each, in the form of the data module's batches."""
    rng = np.random.default_rng(seed)
    num_blocks = -(-side // BLOCK_PX)
    block_classes = rng.integers(0, 19, (batch_size, num_blocks, num_blocks))
    is_thing = block_classes >= 11
    thing_ids = is_thing.reshape(batch_size, -1).cumsum(axis=1).reshape(is_thing.shape)
    semantic = enlarge_blocks(block_classes, side)  # (B, H, W)
    instance = enlarge_blocks(thing_ids * is_thing, side)  # (B, H, W)
    noise = rng.integers(0, 20, (batch_size, 3, side, side))
    image = (semantic * 12)[:, None] + noise  # (B, 3, H, W)
    return {
        "image": torch.from_numpy(image.astype(np.uint8)),
        "semantic": torch.from_numpy(semantic.astype(np.uint8)),
        "instance": torch.from_numpy(instance.astype(np.int32)),
        "size": [(side, side)] * batch_size,
        "index": list(range(batch_size)),
    }


def enlarge_blocks(values, side):
    """Each value as a block of pixels: (B, side, side)."""
    block = np.ones((BLOCK_PX, BLOCK_PX), int)
    return np.kron(values, block)[:, :side, :side]


class Clock(Callback):
    """Measures the seconds of each step after warm-up, including the device's work."""

    def __init__(self, memory):
        self.memory = memory
        self.ends = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.record_end()

    def on_predict_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        self.record_end()

    def record_end(self):
        self.memory.wait()
        if self.memory.device.type == "cpu":
            self.ends.append(time.process_time() / torch.get_num_threads())
        else:
            self.ends.append(time.perf_counter())

    def seconds(self):
        return float(np.median(np.diff(self.ends[WARM_UP_STEPS - 1 :])))


class PredictModule(LightningModule):
    """The prediction step of a task: the network and post-processing."""

    def __init__(self, task):
        super().__init__()
        self.task = task
        self.network = task.network

    def predict_step(self, batch, batch_idx):
        outputs = as_arrays(self.network(batch["image"]))
        return len(self.task.postprocess(outputs, batch["size"]))


def build_trainer(options, enabled, *callbacks, **settings):
    """A Trainer with the enabled options; `settings` are further arguments."""
    speed = []
    if "channels_last" in enabled:
        speed.append(ChannelsLast())
    if "compile" in enabled:
        speed.append(Compiled())
    return Trainer(
        accelerator=options.accelerator,
        devices=options.devices,
        strategy="ddp" if options.devices > 1 else "auto",
        precision="bf16-mixed" if "bf16" in enabled else "32-true",
        deterministic="warn" if "deterministic" in enabled else None,
        gradient_clip_val=1.0,
        callbacks=[StepSeed(0), *speed, *callbacks],
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"max_epochs": 1} | settings,
    )


def build_loader(options):
    batches = [draw_batch(options.batch, options.side, seed) for seed in range(4)]
    num_steps = WARM_UP_STEPS + options.steps
    return DataLoader([batches[step % 4] for step in range(num_steps)], batch_size=None)


def measure(options, network, enabled):
    """Print one row as JSON; prediction comes first, because its peak memory is lower."""
    torch.set_num_threads(options.threads)
    overrides = [*NETWORKS[network], "scheduler=constant", "optimizer=adamw", *options.set]
    with initialize_config_dir(str(packaged_conf()), version_base="1.3"):
        cfg = compose("config", overrides)
    seed_everything(0, verbose=False)
    task = build_task(cfg, CLASSES)
    loader = build_loader(options)
    row = {"weights": sum(weight.numel() for weight in task.network.parameters())}
    memory = Memory(build_trainer(options, enabled).strategy.root_device)
    for step in ["predict", "train"]:
        memory.restart()
        clock = Clock(memory)
        trainer = build_trainer(options, enabled, clock)
        if step == "predict":
            trainer.predict(PredictModule(task), loader, return_predictions=False)
        else:
            trainer.fit(task, loader)
        row[step] = options.batch * trainer.world_size / clock.seconds()
        row[f"{step}_memory"] = memory.peak()
    if trainer.is_global_zero:
        print(json.dumps(row), flush=True)


def enabled_options(options):
    """The enabled options of each row."""
    yield ()
    for option in options.vary:
        yield (option,)
    if len(options.vary) > 1:
        yield tuple(options.vary)


def measure_in_a_process(network, enabled):
    """The cells of one row of the table."""
    command = [sys.executable, *sys.argv, "--one", network, *enabled]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=os.environ)
    cells = [network, ", ".join(enabled) or "-"]
    if result.returncode != 0:
        return [*cells, f"failed with status {result.returncode}", "", "", "", ""]
    row = json.loads(result.stdout.splitlines()[-1])
    cells.append(f"{row['weights'] / 1e6:.1f} M")
    for step in ["train", "predict"]:
        cells.append(f"{row[step]:.2f}")
        cells.append(f"{row[f'{step}_memory'] / 1e9:.2f} GB")
    return cells


def parse_options():
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
    parser.add_argument("--set", nargs="*", default=[], help="more overrides of the configuration")
    parser.add_argument(
        "--one", nargs="+", help="used by this program: a network and its enabled options"
    )
    return parser.parse_args()


def main():
    options = parse_options()
    if options.one:
        warnings.filterwarnings("ignore")
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        network, *enabled = options.one
        measure(options, network, enabled)
        return
    print(
        f"{options.side} px, batches of {options.batch} on each of {options.devices} "
        f"{options.accelerator}"
    )
    print(
        "| network | on | weights | training, images/s | memory | predicting, images/s | memory |"
    )
    print("|---|---|---|---|---|---|---|")
    for network in options.networks:
        for enabled in enabled_options(options):
            cells = measure_in_a_process(network, enabled)
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
