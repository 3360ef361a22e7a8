"""Can each network learn four real images by heart, for each of its tasks? A network, a loss or a decoding that cannot is broken.

    python benchmarks/overfit.py DATA_FOLDER [--only unet/semantic ...] [--steps 2000] [--seed 0] [--threads 1]

DATA_FOLDER holds camvid/, dsb2018/ and cwfid/. Four squares of 128 px are cut of four images of each (CWFID's are cut at 256 px, or
--shrink times 128, and shrunk), things of fewer than 16 px become void, and the networks of conf/network are trained on them by a real
Trainer until the score of the task's own validation reaches the goal (mIoU 0.95, PQ 0.9) or the steps are over. Scores depend on the seed,
not on the load.
"""

import argparse
import logging
import tempfile
import time
import warnings
from pathlib import Path

import cv2
import numpy as np
import torch
from hydra import compose, initialize_config_dir
from lightning import Callback, Trainer, seed_everything

from maskmill.assembly.training_job import build_task
from maskmill.canonical.folder import ImageRecord, PanopticFolder, write_index, write_panoptic
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import read_rgb, write_rgb
from maskmill.data.datamodule import SegmentationDataModule
from maskmill.data.transforms import Augmentation
from maskmill.sources.class_masks import ClassMasks
from maskmill.sources.cwfid import Cwfid
from maskmill.sources.finding import Findings
from maskmill.sources.instance_masks import InstanceMasks
from maskmill.sources.pairs import FolderPairs
from maskmill.training.callbacks import StepSeed

SIDE, SMALLEST_PX = 128, 16
CONF = str(Path(__file__).parents[1] / "conf")
GOALS = {
    "semantic": ("val/mIoU", 0.95),
    "instance": ("val/PQ/thing", 0.9),
    "panoptic": ("val/PQ", 0.9),
}
MASKS = ["loss=mask_classification", "scheduler=constant"]
ONE_MASK_A_CLASS = "loss.separate_things=false"
# What each network is trained with, beside its file in conf/network.
RUNS = {
    "unet/semantic": ["encoder=efficientnet_lite0", "loss=cross_entropy_dice", "optimizer.lr=2e-3"],
    "deeplabv3plus/semantic": [
        "encoder=efficientnet_lite0",
        "loss=cross_entropy_dice",
        "optimizer.lr=2e-3",
    ],
    "segformer/semantic": ["encoder=pvt_v2_b0", "loss=cross_entropy_dice", "optimizer.lr=5e-4"],
    "panoptic_deeplab/instance": [
        "encoder=efficientnet_lite0",
        "loss=panoptic_deeplab",
        "optimizer.lr=2e-3",
    ],
    "panoptic_deeplab/panoptic": [
        "encoder=efficientnet_lite0",
        "loss=panoptic_deeplab",
        "optimizer.lr=2e-3",
    ],
    "mask2former/semantic": [
        "encoder=efficientnet_lite0",
        *MASKS,
        ONE_MASK_A_CLASS,
        "optimizer.lr=1e-3",
    ],
    "mask2former/instance": ["encoder=efficientnet_lite0", *MASKS, "optimizer.lr=1e-3"],
    "mask2former/panoptic": ["encoder=efficientnet_lite0", *MASKS, "optimizer.lr=1e-3"],
    "eomt/semantic": ["encoder=vit_tiny", *MASKS, ONE_MASK_A_CLASS, "optimizer.lr=5e-4"],
    "eomt/instance": ["encoder=vit_tiny", *MASKS, "optimizer.lr=5e-4"],
    "eomt/panoptic": ["encoder=vit_tiny", *MASKS, "optimizer.lr=5e-4"],
}


def source_of(task, data, shrink):
    """The data set of a task, the four images to cut, and the side of the cut."""
    if task == "semantic":
        rows = [{"id": key, "name": str(key)} for key in range(11)]
        pairs = [FolderPairs("train", "trainannot", {"train": 1.0})]
        return ClassMasks(data / "camvid", pairs, rows, void_ids=[11]), (0, 40, 80, 120), SIDE
    if task == "instance":
        return (
            InstanceMasks(
                data / "dsb2018", "stage1_train", {"id": 1, "name": "nucleus"}, {"train": 1.0}
            ),
            (0, 5, 10, 15),
            SIDE,
        )
    return Cwfid(data / "cwfid", {"train": 1.0}), (0, 5, 10, 15), shrink * SIDE


def cut(image, panoptic, side):
    """The square in the middle, shrunk to SIDE."""
    height, width = panoptic.ids.shape
    y, x = (height - side) // 2, (width - side) // 2
    ids = panoptic.ids[y : y + side, x : x + side]
    ids = cv2.resize(ids, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    image = cv2.resize(
        image[y : y + side, x : x + side], (SIDE, SIDE), interpolation=cv2.INTER_AREA
    )
    small = [
        segment.id
        for segment in Panoptic.from_ids(ids, panoptic.category_of).segments
        if segment.area < SMALLEST_PX
    ]
    return image, Panoptic.from_ids(np.where(np.isin(ids, small), 0, ids), panoptic.category_of)


def write_images(task, data, folder, *, shrink=2):
    """The four squares as both splits of a prepared data set."""
    source, places, side = source_of(task, data, shrink)
    samples = source.samples(Findings())
    records, rows = [], []
    for number, place in enumerate(places, start=1):
        image, panoptic = cut(
            read_rgb(samples[place].image), source.read(samples[place], Findings()), side
        )
        record = ImageRecord(number, f"{number}.png", SIDE, SIDE)
        for split in ("train", "val"):
            write_rgb(folder / split / "images" / record.file_name, image)
            row = write_panoptic(folder / split, record, panoptic)
        records.append(record)
        rows.append(row)
    for split in ("train", "val"):
        write_index(folder / split, source.categories, records, rows)
    return folder


class Goal(Callback):
    """Stop at the goal, and remember the best score and when it came."""

    def __init__(self, key, least, *, shown):
        self.key, self.least, self.shown, self.best, self.step = key, least, shown, 0.0, 0

    def on_validation_end(self, trainer, pl_module):
        score = float(trainer.callback_metrics.get(self.key, 0.0))
        if self.shown:
            print(f"  step {trainer.global_step}: {score:.3f}", flush=True)
        if score > self.best:
            self.best, self.step = score, trainer.global_step
        trainer.should_stop = self.best >= self.least


def overfit(name, root, *, steps, settings=(), seed=0, shown=False):
    """Train one network on one task; the best score, its step, and the minutes."""
    network, task = name.split("/")
    masks = network in {"mask2former", "eomt"}
    chosen = [
        f"network={network}",
        f"task={task}{'_masks' if masks else ''}",
        "scheduler=constant",
        *RUNS[name],
        *settings,
    ]
    with initialize_config_dir(CONF, version_base="1.3"):
        cfg = compose("config", chosen)
    categories = PanopticFolder(root / "train").categories
    seed_everything(seed, verbose=False)
    goal = Goal(*GOALS[task], shown=shown)
    trainer = Trainer(
        accelerator="cpu",
        max_steps=steps,
        check_val_every_n_epoch=20,  # an epoch is a step: all four images are one batch
        callbacks=[goal, StepSeed(0)],
        gradient_clip_val=1.0 if masks else 10.0,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = SegmentationDataModule(
        root, Augmentation([], 0), crop_size=(SIDE, SIDE), batch_size=4, num_workers=0, seed=0
    )
    start = time.perf_counter()
    trainer.fit(build_task(cfg, categories), data)
    return goal.best, goal.step, (time.perf_counter() - start) / 60


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="+", default=list(RUNS), choices=list(RUNS))
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--shrink", type=int, default=2, help="CWFID is cut at this many times 128 px"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--set", nargs="*", default=[], help="further overrides, as optimizer.lr=1e-3"
    )
    parser.add_argument("--progress", action="store_true", help="show the score at each validation")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    print("| network | task | score | goal | steps | minutes |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        tasks = {name.split("/")[1] for name in options.only}
        roots = {
            task: write_images(task, options.data, Path(temporary) / task, shrink=options.shrink)
            for task in tasks
        }
        for name in options.only:
            network, task = name.split("/")
            chosen = {
                "steps": options.steps,
                "settings": options.set,
                "seed": options.seed,
                "shown": options.progress,
            }
            score, step, minutes = overfit(name, roots[task], **chosen)
            key, least = GOALS[task]
            print(
                f"| {network} | {task} | {key.removeprefix('val/')} {score:.3f} | {least} | {step} | {minutes:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
