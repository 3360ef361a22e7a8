"""Small canonical folders on disk, for tests that read files."""

from dataclasses import replace

import numpy as np

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import write_json
from maskmill.canonical.folder import ImageRecord, write_index, write_panoptic
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import write_rgb
from maskmill.metrics.functional.mask_ap import coco_results
from strategies import CATEGORIES

GROUND, SKY, BALL, BOX = (category.id for category in CATEGORIES)


def scene(seed, *, height=24, width=32, void=True):
    """Sky over ground, a ball and two boxes at random positions, and an unlabelled corner."""
    random = np.random.default_rng(seed)
    ids = np.full((height, width), 1, np.int32)
    ids[: random.integers(6, 12)] = 2
    for segment_id in (3, 4, 5):
        y = random.integers(0, height - 8)
        x = random.integers(0, width - 8)
        ids[y : y + 8, x : x + 6 + segment_id % 3] = segment_id
    if void:
        ids[-3:, :5] = 0
    category_of = {1: GROUND, 2: SKY, 3: BALL, 4: BOX, 5: BOX}
    return Panoptic.from_ids(ids, category_of)


def moved(panoptic, *, by=2):
    """The same segments shifted to the right: a prediction that is partly wrong."""
    ids = np.roll(panoptic.ids, by, axis=1)
    # Scores differ, since the AP of equal scores depends on their order.
    positions = np.arange(ids.size).reshape(ids.shape)
    random = np.random.default_rng(int((ids * positions).sum()))
    scores = {segment_id: float(random.uniform()) for segment_id in panoptic.category_of}
    return Panoptic.from_ids(ids, panoptic.category_of, scores=scores)


def write_split(folder, labels, *, categories=CATEGORIES, images=False, names=None, noise=0):
    """Write a canonical folder; images are noise, `noise` is its seed."""
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    annotations = []
    for number, panoptic in enumerate(labels, start=1):
        name = names[number - 1] if names else f"{number:03}.png"
        record = ImageRecord(number * 10, name, *panoptic.size)
        if images:
            random = np.random.default_rng(noise + number)
            image = random.integers(0, 255, (*panoptic.size, 3), np.uint8)
            write_rgb(folder / "images" / record.file_name, image)
        annotations.append(write_panoptic(folder, record, panoptic))
        records.append(replace(record))
    write_index(folder, categories, records, annotations)
    return folder


def write_instances(folder, labels, categories=CATEGORIES):
    """Write the scored things of a prediction of `write_split` as COCO results."""
    rows = []
    for number, panoptic in enumerate(labels, start=1):
        for row in coco_results(panoptic, categories):
            rows.append({"image_id": number * 10, **row})
    write_json(folder / "instances.json", rows)


def write_things(split, folder):
    """Write a canonical folder again without its stuff, neither in the labels nor in the table."""
    things = Categories([category for category in split.categories if category.isthing])
    labels = []
    for record in split.records:
        panoptic = split.panoptic(record.id)
        kept = [segment.id for segment in panoptic.segments if segment.category_id in things]
        ids = np.where(np.isin(panoptic.ids, kept), panoptic.ids, 0)
        labels.append(Panoptic.from_ids(ids, panoptic.category_of, crowds=panoptic.crowds))
    return write_split(folder, labels, categories=things)


def write_overlaps(images, categories, folder):
    """Write target and prediction of which only the overlaps of the segments are known."""
    sides = {"target": [], "pred": []}
    for image in images:
        target_ids, pred_ids, pixels = np.array(image["pairs"]).T
        for side, ids in (("target", target_ids), ("pred", pred_ids)):
            category_of = {int(key): value for key, value in image[side].items()}
            label_map = np.repeat(ids, pixels).reshape(image["size"])
            sides[side].append(Panoptic.from_ids(label_map, category_of))
    for side, labels in sides.items():
        write_split(folder / side, labels, categories=categories)
    return folder / "target", folder / "pred"
