"""Whether each network can overfit four real images, for each of its tasks.

    python benchmarks/overfit.py DATA_FOLDER [--only unet/semantic ...] [--steps 2000] [--seed 0]
        [--threads 1]

If it cannot, the network, its loss or its post-processing is broken. DATA_FOLDER contains camvid/,
dsb2018/ and cwfid/. One square of 128 px is cropped from four images of each. (For CWFID it is
cropped at 256 px, or at --shrink times 128 px, and resized.) Things of fewer than 16 px become
void. A real Trainer trains the networks of conf/network on these images until the validation score
reaches its goal (mIoU 0.95, PQ 0.9) or the steps are over. Scores depend on the seed, but not on
the load of the machine.
"""

import argparse
import logging
import tempfile
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from hydra import compose, initialize_config_dir
from lightning import Callback, Trainer, seed_everything

from maskmill.assembly.training_parts import build_task
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

SIDE = 128
MIN_AREA_PX = 16
CONF = str(Path(__file__).parents[1] / "conf")
MASK_NETWORKS = {"mask2former", "eomt"}


class Goal(NamedTuple):
    """The validation score to reach."""

    key: str
    min_score: float


GOALS = {
    "semantic": Goal("val/mIoU", 0.95),
    "instance": Goal("val/PQ/thing", 0.9),
    "panoptic": Goal("val/PQ", 0.9),
}
LITE0 = "encoder=efficientnet_lite0"
VIT = "encoder=vit_tiny"
CROSS_ENTROPY = "loss=cross_entropy_dice"
DEEPLAB = [LITE0, "loss=panoptic_deeplab", "optimizer.lr=2e-3"]
MASK2FORMER = [LITE0, "loss=mask_classification", "optimizer.lr=1e-3"]
EOMT = [VIT, "loss=mask_classification", "optimizer.lr=5e-4"]
ONE_MASK_PER_CLASS = "loss.separate_things=false"
# Overrides for each network and task, in addition to the network's file in conf/network
RUNS = {
    "unet/semantic": [LITE0, CROSS_ENTROPY, "optimizer.lr=2e-3"],
    "deeplabv3plus/semantic": [LITE0, CROSS_ENTROPY, "optimizer.lr=2e-3"],
    "segformer/semantic": ["encoder=pvt_v2_b0", CROSS_ENTROPY, "optimizer.lr=5e-4"],
    "panoptic_deeplab/instance": DEEPLAB,
    "panoptic_deeplab/panoptic": DEEPLAB,
    "mask2former/semantic": [*MASK2FORMER, ONE_MASK_PER_CLASS],
    "mask2former/instance": MASK2FORMER,
    "mask2former/panoptic": MASK2FORMER,
    "eomt/semantic": [*EOMT, ONE_MASK_PER_CLASS],
    "eomt/instance": EOMT,
    "eomt/panoptic": EOMT,
}


class Crops(NamedTuple):
    """Which squares to crop from a data set: `side` px in the middle of each sample."""

    source: ClassMasks | InstanceMasks | Cwfid
    indices: tuple[int, ...]
    side: int


def crops_of(task, data, shrink):
    """The data set of a task, its four samples, and the side of the crop."""
    if task == "semantic":
        rows = [{"id": key, "name": str(key)} for key in range(11)]
        pairs = [FolderPairs("train", "trainannot", {"train": 1.0})]
        camvid = ClassMasks(data / "camvid", pairs, rows, void_ids=[11])
        return Crops(camvid, (0, 40, 80, 120), SIDE)
    if task == "instance":
        category = {"id": 1, "name": "nucleus"}
        nuclei = InstanceMasks(data / "dsb2018", "stage1_train", category, {"train": 1.0})
        return Crops(nuclei, (0, 5, 10, 15), SIDE)
    return Crops(Cwfid(data / "cwfid", {"train": 1.0}), (0, 5, 10, 15), shrink * SIDE)


def crop_middle(image, panoptic, side):
    """The square in the middle, resized to SIDE, without tiny segments."""
    height, width = panoptic.ids.shape
    top = (height - side) // 2
    left = (width - side) // 2
    square = (slice(top, top + side), slice(left, left + side))
    ids = cv2.resize(panoptic.ids[square], (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    image = cv2.resize(image[square], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    segments = Panoptic.from_ids(ids, panoptic.category_of).segments
    tiny_ids = [segment.id for segment in segments if segment.area < MIN_AREA_PX]
    ids = np.where(np.isin(ids, tiny_ids), 0, ids)
    return image, Panoptic.from_ids(ids, panoptic.category_of)


def write_images(task, data, folder, *, shrink=2):
    """Write the four squares as both splits of a prepared data set."""
    crops = crops_of(task, data, shrink)
    samples = crops.source.samples(Findings())
    records = []
    rows = []
    for image_id, index in enumerate(crops.indices, start=1):
        sample = samples[index]
        panoptic = crops.source.read(sample, Findings())
        image, panoptic = crop_middle(read_rgb(sample.image), panoptic, crops.side)
        record = ImageRecord(image_id, f"{image_id}.png", SIDE, SIDE)
        for split in ["train", "val"]:
            write_rgb(folder / split / "images" / record.file_name, image)
            row = write_panoptic(folder / split, record, panoptic)
        records.append(record)
        rows.append(row)
    for split in ["train", "val"]:
        write_index(folder / split, crops.source.categories, records, rows)
    return folder


class StopAtGoal(Callback):
    """Stops at the goal, and stores the best score and its step."""

    def __init__(self, goal, *, progress):
        self.goal = goal
        self.progress = progress
        self.best_score = 0.0
        self.best_step = 0

    def on_validation_end(self, trainer, pl_module):
        score = float(trainer.callback_metrics.get(self.goal.key, 0.0))
        if self.progress:
            print(f"  step {trainer.global_step}: {score:.3f}", flush=True)
        if score > self.best_score:
            self.best_score = score
            self.best_step = trainer.global_step
        trainer.should_stop = self.best_score >= self.goal.min_score


class Result(NamedTuple):
    """The best score of a run."""

    score: float
    step: int
    minutes: float


def overfit(name, root, *, steps, settings=(), seed=0, progress=False):
    """Train one network on one task."""
    network, task = name.split("/")
    has_masks = network in MASK_NETWORKS
    overrides = [
        f"network={network}",
        f"task={task}_masks" if has_masks else f"task={task}",
        "scheduler=constant",
        *RUNS[name],
        *settings,
    ]
    with initialize_config_dir(CONF, version_base="1.3"):
        cfg = compose("config", overrides)
    categories = PanopticFolder(root / "train").categories
    seed_everything(seed, verbose=False)
    callback = StopAtGoal(GOALS[task], progress=progress)
    trainer = Trainer(
        accelerator="cpu",
        max_steps=steps,
        check_val_every_n_epoch=20,  # an epoch is one step, because the images are one batch
        callbacks=[callback, StepSeed(0)],
        gradient_clip_val=1.0 if has_masks else 10.0,
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
    minutes = (time.perf_counter() - start) / 60
    return Result(callback.best_score, callback.best_step, minutes)


def parse_options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="+", default=list(RUNS), choices=list(RUNS))
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--shrink", type=int, default=2, help="crop CWFID at this many times 128 px"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--set", nargs="*", default=[], help="more overrides, such as optimizer.lr=1e-3"
    )
    parser.add_argument(
        "--progress", action="store_true", help="print the score at each validation"
    )
    return parser.parse_args()


def main():
    options = parse_options()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    print("| network | task | score | goal | steps | minutes |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        for name in options.only:
            network, task = name.split("/")
            root = Path(temporary) / task
            if not root.exists():
                write_images(task, options.data, root, shrink=options.shrink)
            result = overfit(
                name,
                root,
                steps=options.steps,
                settings=options.set,
                seed=options.seed,
                progress=options.progress,
            )
            goal = GOALS[task]
            metric = goal.key.removeprefix("val/")
            print(
                f"| {network} | {task} | {metric} {result.score:.3f} | {goal.min_score} "
                f"| {result.step} | {result.minutes:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
