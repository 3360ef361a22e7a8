"""Whole commands on 1,000 to 100,000 small images, in CPU time per image and peak memory.

    python benchmarks/large_data.py masks [--images 1000 10000 100000] [--folder FOLDER]
    python benchmarks/large_data.py coco [--images 1000 10000 100000] [--folder FOLDER]
    python benchmarks/large_data.py dvc [--images 1000 10000 100000] [--set cache.type=hardlink]
    python benchmarks/large_data.py objects [--objects 300 3000 12000]

`masks` draws JPEG images and class masks of 64 x 64 px in the layout of `source=own`, `coco` draws
COCO instances with ten annotations an image. `dvc` runs `dvc add data`, `dvc repro prepare` and
`dvc status` in a project with class masks, and changes one label between runs. `objects` draws one
image of 1,024 x 1,024 px with so many objects.

Every command runs as a process of its own in a project that `maskmill new` made in a temporary
folder (in FOLDER). CPU time and peak memory (PSS, sampled) are those of all its processes.
"""

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import psutil

SIDE = 64  # px
NUM_ANNOTATIONS = 10  # of an image
NUM_CATEGORIES = 20
CELLS = 4  # the objects of an image lie on a grid of so many rows and columns
ONE_STEP = [
    "+trainer.max_steps=1",
    "+trainer.limit_val_batches=1",
    "train.calibrate=false",
    f"sizes.crop_size=[{SIDE},{SIDE}]",
]
TASKS = {
    "masks": ["source=own", "network=unet", "task=semantic", "loss=cross_entropy_dice"],
    "coco": ["source=coco_instances", "task=instance"],
}


@dataclass(frozen=True)
class Cost:
    """Wall time, CPU time and largest memory of a command and its processes."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("form", choices=["masks", "coco", "dvc", "objects"])
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--objects", type=int, nargs="+", default=[300, 3000, 12_000])
    parser.add_argument("--folder", type=Path, help="where the projects are made")
    parser.add_argument("--set", nargs="+", default=[], help="settings of DVC, NAME=VALUE")
    options = parser.parse_args()
    numbers = options.objects if options.form == "objects" else options.images
    print("| images | command | s | CPU s | CPU ms an image | peak MB |\n|---|---|---|---|---|---|")
    for number in numbers:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            project = new_project(Path(folder))
            if options.form == "objects":
                measure_objects(project, number)
            elif options.form == "dvc":
                measure_dvc(project, number, options.set)
            else:
                measure(project, options.form, number)


def new_project(folder):
    """An empty project of maskmill."""
    subprocess.run(["maskmill", "new", "project"], cwd=folder, check=True, capture_output=True)
    shutil.rmtree(folder / "project" / "data")
    return folder / "project"


def measure(project, form, num_images):
    """Print the rows of all commands for one form of labels."""
    draw = {"masks": draw_masks, "coco": draw_coco}[form]
    change = {"masks": change_mask, "coco": change_annotation}[form]
    draw(project, num_images)
    task = TASKS[form]
    source = task[0]
    prepared = project / "out" / "prepare"
    report(num_images, "check", run(["maskmill", "check", source], project))
    report(num_images, "prepare", run(["maskmill", "prepare", source], project))
    report(num_images, "prepare again", run(["maskmill", "prepare", source], project))
    change(project)
    report(num_images, "one label changed", run(["maskmill", "prepare", source], project))
    report(num_images, "train, one step", run(["maskmill", "train", *task, *ONE_STEP], project))
    shutil.copytree(prepared / "train", project / "pred", copy_function=os.link)
    report(num_images, "evaluate", run(["maskmill", "evaluate", *folders_of("train")], project))


def folders_of(split):
    """Settings that compare a split of the prepared data with a copy of itself."""
    return [f"evaluate.target=out/prepare/{split}", "evaluate.prediction=pred"]


def measure_dvc(project, num_images, settings):
    """Print the rows of `dvc repro prepare` and `dvc status`, with one changed label."""
    draw_masks(project, num_images)
    params = project / "params.yaml"
    chosen = params.read_text().replace("source: _", "source: own", 1)
    params.write_text(chosen.replace("network: _", "network: unet", 1))
    subprocess.run(["dvc", "init", "--quiet"], cwd=project, check=True)
    for setting in settings:
        subprocess.run(["dvc", "config", *setting.split("=")], cwd=project, check=True)
    repro = ["dvc", "repro", "prepare"]
    report(num_images, "dvc add data", run(["dvc", "add", "data"], project))
    report(num_images, "dvc repro prepare", run(repro, project))
    report(num_images, "again", run(repro, project))
    report(num_images, "dvc status", run(["dvc", "status"], project))
    change_mask(project)
    report(num_images, "one label changed", run(repro, project))
    report(num_images, "again", run(repro, project))
    report(num_images, "dvc status", run(["dvc", "status"], project))


def measure_objects(project, num_objects):
    """Print the rows of the commands for one image with so many objects."""
    data = project / "data"
    (data / "images").mkdir(parents=True)
    cells = int(np.ceil(np.sqrt(num_objects)))
    write_jpeg(data / "images" / "crowded.jpg", noise(np.random.default_rng(0), 1024))
    rows = annotations(np.random.default_rng(0), 1, num_objects, cells, 1024)
    image = {"id": 1, "file_name": "crowded.jpg", "height": 1024, "width": 1024}
    write_coco(data / "instances.json", [image], rows)
    part = "{_target_: maskmill.sources.coco_panoptic.CocoPart, annotations: instances.json"
    part += ", images: images, splits: {train: 1.0}}"
    source = ["source=coco_instances", f"source.parts=[{part}]"]
    name = f"{num_objects:,} objects: "
    report(1, f"{name}check", run(["maskmill", "check", *source], project))
    report(1, f"{name}prepare", run(["maskmill", "prepare", *source], project))
    shutil.copytree(project / "out" / "prepare" / "train", project / "pred")
    report(1, f"{name}evaluate", run(["maskmill", "evaluate", *folders_of("train")], project))


def draw_masks(project, num_images):
    """Images with two ellipses, and masks with their classes, as `source=own` expects them."""
    for name in ("photos", "masks"):
        (project / "data" / name).mkdir(parents=True)
    for index in range(num_images):
        random = np.random.default_rng(index)
        image = noise(random, SIDE)
        mask = np.zeros((SIDE, SIDE), np.uint8)
        for category in (1, 2):
            ellipse = ellipse_of(random)
            cv2.ellipse(image, *ellipse, random.integers(0, 256, 3).tolist(), -1)
            cv2.ellipse(mask, *ellipse, category, -1)
        write_jpeg(project / "data" / "photos" / f"{index:06}.jpg", image)
        (project / "data" / "masks" / f"{index:06}.png").write_bytes(encoded(".png", mask))
    own = project / "conf" / "source" / "own.yaml"
    shares = "shares: {train: 0.9, val: 0.05, test: 0.05}"
    own.write_text(re.sub(r"shares: \{.*?\}", shares, own.read_text()))


def change_mask(project):
    """Change a pixel of one training mask."""
    path = next((project / "out" / "prepare" / "train" / "panoptic").iterdir())
    path = project / "data" / "masks" / path.name
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    mask[0, 0] = 2 - mask[0, 0]
    path.write_bytes(encoded(".png", mask))


def draw_coco(project, num_images):
    """Two JSON files as COCO has them: a twentieth of the images are those of `val2017`."""
    num_val = num_images // 20
    indices = {"train2017": range(num_val, num_images), "val2017": range(num_val)}
    (project / "data" / "annotations").mkdir(parents=True)
    for name, numbers in indices.items():
        (project / "data" / name).mkdir()
        images, rows = [], []
        for index in numbers:
            random = np.random.default_rng(index)
            file_name = f"{index:012}.jpg"
            write_jpeg(project / "data" / name / file_name, noise(random, SIDE))
            images.append({"id": index, "file_name": file_name, "height": SIDE, "width": SIDE})
            rows += annotations(random, index, NUM_ANNOTATIONS, CELLS, SIDE)
        write_coco(project / "data" / "annotations" / f"instances_{name}.json", images, rows)


def change_annotation(project):
    """Move the first point of one annotation by a pixel."""
    path = project / "data" / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentation"][0][0] += 1
    path.write_text(json.dumps(content))


def annotations(random, image_id, number, cells, side):
    """Polygons of eight points, each in a cell of its own of a grid on the image."""
    rows = []
    angles = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    size = side / cells
    for index, cell in enumerate(random.permutation(cells**2)[:number].tolist()):
        center = size * (np.array([cell % cells, cell // cells]) + 0.5)
        radii = size * random.uniform(0.3, 0.6, 2)
        points = center + radii * np.column_stack([np.cos(angles), np.sin(angles)])
        points = points.clip(0, side)
        x, y = points.min(axis=0)
        width, height = points.max(axis=0) - [x, y]
        (x1, y1), (x2, y2) = points.T, np.roll(points, -1, axis=0).T
        area = 0.5 * (x1 * y2 - x2 * y1).sum()
        row = {
            "id": image_id * max(number, NUM_ANNOTATIONS) + index + 1,
            "image_id": image_id,
            "category_id": 1 + int(random.integers(NUM_CATEGORIES)),
            "iscrowd": 0,
            "area": round(float(area), 2),
            "bbox": np.round([x, y, width, height], 2).tolist(),
            "segmentation": [np.round(points, 2).ravel().tolist()],
        }
        rows.append(row)
    return rows


def write_coco(path, images, rows):
    categories = [{"id": 1 + key, "name": f"object {key}"} for key in range(NUM_CATEGORIES)]
    content = {"images": images, "annotations": rows, "categories": categories}
    path.write_text(json.dumps(content))


def noise(random, side):
    """An image unlike all others: smooth patches of random colours."""
    patches = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return cv2.resize(patches, (side, side), interpolation=cv2.INTER_LINEAR)


def ellipse_of(random):
    center = random.integers(12, SIDE - 12, 2).tolist()
    axes = random.integers(5, 12, 2).tolist()
    return center, axes, int(random.integers(180)), 0, 360


def write_jpeg(path, image):
    path.write_bytes(encoded(".jpg", image))


def encoded(ending, image):
    return cv2.imencode(ending, image)[1].tobytes()


def run(command, project):
    """Run a command in the project and measure it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    peak = 0
    with (project.parent / "log").open("w+") as log:
        process = psutil.Popen(command, cwd=project, stdout=log, stderr=subprocess.STDOUT)
        while process.poll() is None:
            peak = max(peak, memory_of(process))
            time.sleep(0.2)
        wall_s = time.perf_counter() - start
        log.seek(0)
        output = log.read()
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{output[-3000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall_s, cpu_s, peak / 1e6)


def memory_of(process):
    """Bytes of a process and all processes below it; what they share counts once."""
    total = 0
    try:
        for one in [process, *process.children(recursive=True)]:
            total += one.memory_full_info().pss
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return total
    return total


def report(num_images, name, cost):
    per_image = 1000 * cost.cpu_s / num_images
    print(
        f"| {num_images:,} | {name} | {cost.wall_s:.1f} | {cost.cpu_s:.1f} "
        f"| {per_image:.2f} | {cost.peak_mb:.0f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
