"""Small splits on disk, for tests that read files."""

from dataclasses import replace

import numpy as np

from maskmill.canonical.files import write_json
from maskmill.canonical.folder import ImageRecord, write_index, write_panoptic
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import write_rgb
from maskmill.metrics.functional.mask_ap import coco_results
from strategies import CATEGORIES

GROUND, SKY, BALL, BOX = (category.id for category in CATEGORIES)


def scene(seed, *, height=24, width=32, void=True):
    """Sky over ground, a ball and two boxes, somewhere; perhaps an unlabelled corner."""
    random = np.random.default_rng(seed)
    ids = np.full((height, width), 1, np.int32)
    ids[: random.integers(6, 12)] = 2
    for number in (3, 4, 5):
        y, x = random.integers(0, height - 8), random.integers(0, width - 8)
        ids[y : y + 8, x : x + 6 + number % 3] = number
    if void:
        ids[-3:, :5] = 0
    category_of = {1: GROUND, 2: SKY, 3: BALL, 4: BOX, 5: BOX}
    return Panoptic.from_ids(ids, category_of)


def moved(panoptic, *, by=2):
    """The same segments a bit to the right: a prediction that is partly wrong."""
    ids = np.roll(panoptic.ids, by, axis=1)
    random = np.random.default_rng(
        int((ids * np.arange(ids.size).reshape(ids.shape)).sum())
    )  # AP among equal scores depends on the order
    return Panoptic.from_ids(
        ids,
        panoptic.category_of,
        scores={key: float(random.uniform()) for key in panoptic.category_of},
    )


def write_split(folder, labels, *, categories=CATEGORIES, images=False, names=None):
    """Write a canonical folder; images are noise."""
    folder.mkdir(parents=True, exist_ok=True)
    records, annotations = [], []
    for number, panoptic in enumerate(labels, start=1):
        name = names[number - 1] if names else f"{number:03}.png"
        record = ImageRecord(number * 10, name, *panoptic.size)
        if images:
            noise = np.random.default_rng(number).integers(0, 255, (*panoptic.size, 3), np.uint8)
            write_rgb(folder / "images" / record.file_name, noise)
        annotations.append(write_panoptic(folder, record, panoptic))
        records.append(replace(record))
    write_index(folder, categories, records, annotations)
    return folder


def write_instances(folder, labels, categories=CATEGORIES):
    """The scored things of a prediction that `write_split` wrote, as COCO results."""
    rows = []
    for number, panoptic in enumerate(labels, start=1):
        rows += [{"image_id": number * 10, **row} for row in coco_results(panoptic, categories)]
    write_json(folder / "instances.json", rows)
