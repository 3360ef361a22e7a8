"""Check, prepare and evaluate data sets of more and more images:

    python benchmarks/campaign/many_images.py [--images 2500 5000 10000 20000] [--side 32]

Each command runs as a user runs it, in a process of its own, with one worker. The table has CPU
seconds per 1,000 images and the peak memory of the command; neither may grow with the number of
images, beyond the rows that a result itself has per image.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from maskmill.canonical.categories import Categories
from maskmill.canonical.folder import ImageRecord, IndexWriter, write_panoptic
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import write_rgb

CATEGORIES = Categories.from_list(
    [{"id": 1, "name": "ground", "isthing": 0}, {"id": 2, "name": "object", "isthing": 1}]
)
SOURCE = "maskmill.sources.coco_panoptic"


@dataclass(frozen=True)
class Cost:
    """What a command cost: wall time, CPU time of it and its processes, and its peak memory."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, nargs="+", default=[2500, 5000, 10_000, 20_000])
    parser.add_argument("--side", type=int, default=32)
    arguments = parser.parse_args()
    print("| images | command | CPU s / 1,000 images | wall s / 1,000 images | peak MB |")
    print("|---|---|---|---|---|", flush=True)
    for num_images in arguments.images:
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), num_images, arguments.side)


def measure(folder: Path, num_images: int, side: int) -> None:
    """Print a row per command."""
    draw(folder, num_images, side)
    part = f"{{_target_: {SOURCE}.CocoPart, annotations: target.json, images: images"
    part += ", labels: target, splits: {train: 1.0}}"
    source = ["source=coco_panoptic", f"source.root={folder}", f"source.parts=[{part}]"]
    prepared = folder / "prepared"
    scores = [f"evaluate.target={prepared / 'train'}", f"evaluate.prediction={folder}/pred.json"]
    commands = {
        "check": ["check", *source, "prepare.workers=1", f"check.out={folder}/checked"],
        "prepare": ["prepare", *source, "prepare.workers=1", f"prepare.out={prepared}"],
        "evaluate": ["evaluate", *scores, "evaluate.workers=1", f"evaluate.out={folder}/scores"],
    }
    for name, command in commands.items():
        cost = run(command, folder)
        thousands = num_images / 1000
        print(
            f"| {num_images:,} | {name} | {cost.cpu_s / thousands:.2f} "
            f"| {cost.wall_s / thousands:.2f} | {cost.peak_mb:.0f} |",
            flush=True,
        )


def draw(folder: Path, num_images: int, side: int) -> None:
    """Ground truth with two rectangles on the ground; in the prediction all is moved by 1 px."""
    rng = np.random.default_rng(0)
    target = IndexWriter(folder / "target_index", CATEGORIES)
    pred = IndexWriter(folder / "pred_index", CATEGORIES)
    for index in tqdm(range(num_images), desc="draw", disable=not sys.stderr.isatty()):
        record = ImageRecord(index + 1, f"{index:06}.png", height=side, width=side)
        ids = np.ones((side, side), np.int32)
        for number in (2, 3):
            y, x = rng.integers(0, side - 8, 2)
            ids[y : y + 6, x : x + 6] = number
        category_of = {number: min(number, 2) for number in np.unique(ids).tolist()}
        image = (ids * 60).astype(np.uint8)
        write_rgb(folder / "images" / record.file_name, np.repeat(image[..., None], 3, axis=2))
        write(folder / "target_index", target, record, Panoptic.from_ids(ids, category_of))
        moved = np.roll(ids, 1, axis=1)
        write(folder / "pred_index", pred, record, Panoptic.from_ids(moved, category_of))
    for name, writer in {"target": target, "pred": pred}.items():
        writer.close().rename(folder / f"{name}.json")
        (folder / f"{name}_index" / "panoptic").rename(folder / name)


def write(folder: Path, writer: IndexWriter, record: ImageRecord, panoptic: Panoptic) -> None:
    writer.add(record, write_panoptic(folder, record, panoptic))


def run(command: list[str], folder: Path) -> Cost:
    """Run a command of maskmill in the folder, which gets its cache, and measure it."""
    program = [sys.executable, "-m", "maskmill.stages.cli", *command]
    start = time.perf_counter()
    process = subprocess.Popen(
        program, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - start
    if status:
        sys.exit(f"{' '.join(command)} failed:\n{output[-3000:]}")
    return Cost(wall_s, usage.ru_utime + usage.ru_stime, peak_mb(usage))


def peak_mb(usage: resource.struct_rusage) -> float:
    """The peak of the largest process; Linux counts in KiB."""
    return usage.ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    main()
