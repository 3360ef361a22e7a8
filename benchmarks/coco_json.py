"""A long JSON file of COCO instances to samples: CPU time and peak memory, without a pixel read.

    python benchmarks/coco_json.py [--images 122900] [--instances 7]

Each instance is a polygon of 20 points. By default they are 860,300 in 122,900 images, 400 MB of
JSON, about as many as COCO's train2017 has.
"""

import argparse
import json
import math
import random
import resource
import tempfile
import time
from pathlib import Path

from maskmill.sources.coco_index import CocoPart
from maskmill.sources.coco_instances import CocoInstances
from maskmill.sources.finding import Findings

NUM_POINTS = 20
NUM_CATEGORIES = 80


def draw_row(rng, image_id, row_id):
    """A round object as COCO writes one."""
    x = rng.uniform(60, 580)
    y = rng.uniform(60, 420)
    radius = rng.uniform(10, 50)
    polygon = []
    for index in range(NUM_POINTS):
        angle = 2 * math.pi * index / NUM_POINTS
        polygon.append(round(x + radius * math.cos(angle), 2))
        polygon.append(round(y + radius * math.sin(angle), 2))
    box = [x - radius, y - radius, 2 * radius, 2 * radius]
    return {
        "segmentation": [polygon],
        "area": round(math.pi * radius * radius, 2),
        "iscrowd": 0,
        "image_id": image_id,
        "bbox": [round(value, 2) for value in box],
        "category_id": 1 + row_id % NUM_CATEGORIES,
        "id": row_id,
    }


def write_list(file, name, rows):
    """Write a list of the file's object, row by row."""
    file.write(f'"{name}": [')
    for index, row in enumerate(rows):
        file.write((", " if index else "") + json.dumps(row))
    file.write("]")


def draw(root, num_images, num_instances):
    """Write the JSON file, and the empty folder of its images."""
    (root / "images").mkdir()
    rng = random.Random(0)
    images = (
        {"id": i, "file_name": f"{i:012}.jpg", "height": 480, "width": 640}
        for i in range(num_images)
    )
    rows = (draw_row(rng, i // num_instances, i) for i in range(num_images * num_instances))
    categories = ({"id": i, "name": f"class {i}"} for i in range(1, NUM_CATEGORIES + 1))
    with (root / "instances.json").open("w") as file:
        file.write("{")
        write_list(file, "images", images)
        file.write(", ")
        write_list(file, "annotations", rows)
        file.write(", ")
        write_list(file, "categories", categories)
        file.write("}")


def measure(root):
    """List the samples, and print what it cost."""
    start = time.process_time()
    source = CocoInstances(root, [CocoPart("instances.json", "images", {"train": 0.9, "val": 0.1})])
    findings = Findings()
    samples = source.samples(findings)
    num_rows = sum(len(sample.indices) for sample in samples)
    seconds = time.process_time() - start
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    size_mb = (root / "instances.json").stat().st_size / 1e6
    print(
        f"{len(samples)} samples with {num_rows} annotations from {size_mb:.0f} MB, "
        f"{len(findings)} findings: {seconds:.1f} CPU s, at most {memory_mb:.0f} MB"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=122_900)
    parser.add_argument("--instances", type=int, default=7, help="in each image")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder), options.images, options.instances)
        measure(Path(folder))


if __name__ == "__main__":
    main()
