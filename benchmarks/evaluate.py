"""Seconds and peak memory of the whole `evaluate` stage on drawn images; run by hand.

    python benchmarks/evaluate.py [--images 100 500] [--workers 2] [--baseline]
    python benchmarks/evaluate.py --panopticapi CLONE [--images 200] [--rounds 5] [--everything]

With a clone of COCO's panopticapi, its `pq_compute` and `evaluate.metrics=[PQ]` with one worker, or
`evaluate` with all metrics, take turns on the same files, and their CPU seconds are compared.

Images of 480 x 640 with 30 segments each: 4 of stuff and 26 things of 8 classes, drawn as ellipses
over noise; the prediction has them moved by a few pixels, some lost, renamed or invented. The stage
runs as a process of its own, report included. Peak memory is that of all its processes together
(PSS, sampled), and so are the CPU seconds, which a busy machine changes less than the clock.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import psutil

from maskmill.canonical.categories import Categories, Category, color_of
from maskmill.canonical.files import write_json
from maskmill.canonical.folder import ImageRecord, write_index, write_panoptic
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import write_rgb
from maskmill.metrics.functional.mask_ap import coco_results

HEIGHT, WIDTH, NUM_STUFF, NUM_THINGS = 480, 640, 4, 26
FOLDERS = ["target=truth", "prediction=new", "out=scores"]
CATEGORIES = Categories(
    [Category(key, f"class {key}", key > NUM_STUFF, color_of(key)) for key in range(1, 13)]
)


def draw(shapes, stuff):
    """Segments 1..4 are bands of stuff, then one ellipse per thing: class, centre, axes, angle,
    score.
    """
    ids = np.repeat(np.arange(1, NUM_STUFF + 1, dtype=np.int32), HEIGHT // NUM_STUFF)[
        :, None
    ].repeat(WIDTH, 1)
    canvas = ids.astype(np.float32)
    for key, (_, centre, axes, angle, _) in enumerate(shapes, start=NUM_STUFF + 1):
        cv2.ellipse(canvas, centre, axes, angle, 0, 360, key, -1)
    classes = {key: stuff[key - 1] for key in range(1, NUM_STUFF + 1)}
    classes |= {key: shape[0] for key, shape in enumerate(shapes, start=NUM_STUFF + 1)}
    scores = {key: shape[4] for key, shape in enumerate(shapes, start=NUM_STUFF + 1)}
    return Panoptic.from_ids(canvas.astype(np.int32), classes, scores=scores)


def shape(random):
    centre = int(random.integers(0, WIDTH)), int(random.integers(0, HEIGHT))
    axes = tuple(int(side) for side in random.integers(12, 50, 2))
    return int(random.integers(NUM_STUFF + 1, 13)), centre, axes, int(random.integers(180)), 1.0


def guess(shapes, random, push):
    """The same things, moved; a tenth are lost, a tenth invented, a tenth renamed."""
    kept = [one for one in shapes if random.random() > 0.1] + [
        shape(random) for _ in range(len(shapes) // 10)
    ]
    moved = []
    for key, (x, y), axes, angle, _ in kept:
        name = int(random.integers(NUM_STUFF + 1, 13)) if random.random() < 0.1 else key
        dx, dy = random.normal(0, push, 2).round().astype(int).tolist()
        moved.append((name, (x + dx, y + dy), axes, angle, float(random.beta(4, 2))))
    return moved


def write(root, number):
    """Truth with images, and two predictions."""
    records, rows, results = (
        [],
        {name: [] for name in ("truth", "new", "old")},
        {"new": [], "old": []},
    )
    for place in range(number):
        random = np.random.default_rng(place)
        record = ImageRecord(place + 1, f"{place:05}.png", HEIGHT, WIDTH)
        shapes = [shape(random) for _ in range(NUM_THINGS)]
        noise = cv2.resize(random.integers(0, 255, (30, 40, 3), np.uint8), (WIDTH, HEIGHT)).astype(
            np.int16
        )
        write_rgb(
            root / "truth" / "images" / record.file_name,
            (noise + random.integers(-9, 9, noise.shape)).clip(0, 255).astype(np.uint8),
        )
        labels = {"truth": draw(shapes, [1, 2, 3, 4])}
        labels |= {
            name: draw(guess(shapes, random, push), [1, 2, 3, 4])
            for name, push in (("new", 4), ("old", 6))
        }
        for name, panoptic in labels.items():
            rows[name].append(write_panoptic(root / name, record, panoptic))
            if name in results:
                results[name] += [
                    {"image_id": record.id, **row} for row in coco_results(panoptic, CATEGORIES)
                ]
        records.append(record)
    for name, annotations in rows.items():
        write_index(root / name, CATEGORIES, records, annotations)
    for name, found in results.items():
        write_json(root / name / "instances.json", found)


PEER = """
from panopticapi.evaluation import pq_compute
pq_compute("truth/panoptic.json", "new/panoptic.json", "truth/panoptic", "new/panoptic")
"""


def compare(root, clone, rounds, metrics):
    """Print the CPU seconds of both commands, which take turns, and the median of their ratios."""
    environment = os.environ | {"PYTHONPATH": str(clone.resolve())}
    ours = [sys.executable, "-m", "maskmill.stages.evaluate", *metrics]
    ours += [f"evaluate.{setting}" for setting in (*FOLDERS, "workers=1")]
    ratios = []
    for _ in range(rounds):
        our_cpu = cpu_seconds(ours, root, os.environ)
        peer_cpu = cpu_seconds([sys.executable, "-c", PEER], root, environment)
        ratios.append(our_cpu / peer_cpu)
        print(f"{our_cpu:.2f} and {peer_cpu:.2f} CPU s: {ratios[-1]:.2f}", flush=True)
    print(f"median ratio {statistics.median(ratios):.2f}")


def cpu_seconds(command, root, environment):
    """Of the whole process with its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=root, env=environment, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run(root, settings):
    """Seconds, CPU seconds and peak megabytes of the stage."""
    command = [
        sys.executable,
        "-m",
        "maskmill.stages.evaluate",
        *(f"evaluate.{setting}" for setting in settings),
    ]
    start, before, peak = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN), 0
    process = psutil.Popen(command, cwd=root, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        total = 0
        for one in [process, *_children(process)]:
            try:
                total += one.memory_full_info().pss
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
        peak = max(peak, total)
        time.sleep(0.2)
    assert process.returncode == 0, "evaluate failed"
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, cpu, peak / 1e6


def _children(process):
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, nargs="+", default=[100, 500])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--baseline", action="store_true")
    parser.add_argument("--panopticapi", type=Path, help="a clone of COCO's panopticapi")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--everything", action="store_true", help="all metrics in place of PQ")
    options = parser.parse_args()
    for number in options.images:
        with tempfile.TemporaryDirectory() as temporary:
            root = Path(temporary)
            write(root, number)
            if options.panopticapi is not None:
                metrics = [] if options.everything else ["evaluate.metrics=[PQ]"]
                print(f"{number} images: maskmill evaluate {' '.join(metrics)} and pq_compute")
                compare(root, options.panopticapi, options.rounds, metrics)
                continue
            settings = [*FOLDERS, f"workers={options.workers}"]
            seconds, cpu, peak = run(root, settings + ["baseline=old"] * options.baseline)
            size = (root / "scores" / "report.html").stat().st_size / 1e6
            name = f"{number:>5} images, {options.workers} workers"
            row = f"{name}: {seconds:6.1f} s, {cpu:6.1f} CPU s, peak {peak:5.0f} MB"
            print(f"{row}, report {size:.1f} MB", flush=True)


if __name__ == "__main__":
    main()
