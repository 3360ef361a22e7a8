"""Overlaps of the label maps that deeplab2 and BDD100K publish with their tests, as JSON.

PQ depends on how many pixels each pair of segments shares, and on nothing else of the maps.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from maskmill.canonical.runs import joint_histogram

COLORS = {
    (0, 0, 0): 0,
    (0, 0, 255): 1,
    (255, 0, 0): 2,
    (0, 255, 0): 3,
    (255, 0, 255): 4,
    (0, 255, 255): 5,
    (255, 255, 0): 6,
}
PERSON, BEAR, TREE, BIRD, SKY, CAT = range(1, 7)
TARGET_CLASSES = {
    "bird": {92: SKY, 176: TREE, 255: BIRD},
    "cat": {0: 0, 255: CAT},
    "team": {0: 0, 198: BEAR} | dict.fromkeys((47, 97, 133, 150, 174, 215, 244, 255), PERSON),
}
DEEPLAB2 = [
    {"id": PERSON, "name": "person", "isthing": 1},
    {"id": BEAR, "name": "bear", "isthing": 1},
    {"id": TREE, "name": "tree", "isthing": 0},
    {"id": BIRD, "name": "bird", "isthing": 1},
    {"id": SKY, "name": "sky", "isthing": 0},
    {"id": CAT, "name": "cat", "isthing": 1},
]
IGNORED = 3  # BDD100K's bits for ignored regions and crowds


def main(deeplab2: Path, bdd100k: Path, out: Path) -> None:
    """Read clones of both repositories and write the tables."""
    samples = {
        "deeplab2": {
            "categories": DEEPLAB2,
            "images": [
                deeplab2_image(deeplab2 / "evaluation/testdata", name) for name in TARGET_CLASSES
            ],
        },
        "BDD100K": {
            "categories": [
                {"id": number, "name": f"c{number}", "isthing": int(number >= 31)}
                for number in range(1, 41)
            ],
            "images": [
                bdd100k_image(bdd100k / "tests/eval/testcases/pan_seg", name) for name in "ab"
            ],
        },
    }
    out.write_text(json.dumps(samples).replace('{"size"', '\n{"size"') + "\n")


def deeplab2_image(folder, name):
    """Class 0 is void on both sides; a segment is a pair of class and instance."""
    target_name = folder / (f"{name}_gt_instance.png" if name == "team" else f"{name}_gt.png")
    instances = np.array(Image.open(target_name).convert("L")).astype(int)
    classes = np.zeros_like(instances)
    for value, category in TARGET_CLASSES[name].items():
        classes[instances == value] = category
    pred_colors = np.array(Image.open(folder / f"{name}_pred_class.png").convert("RGB"))
    pred_classes = np.zeros(pred_colors.shape[:2], int)
    for color, category in COLORS.items():
        pred_classes[(pred_colors == color).all(axis=2)] = category
    pred_instances = np.array(Image.open(folder / f"{name}_pred_instance.png").convert("L"))
    target_ids = np.where(classes > 0, classes * 256 + instances, 0)
    pred_ids = np.where(pred_classes > 0, pred_classes * 256 + pred_instances, 0)
    category_of = [lambda key: key // 256] * 2
    return table(target_ids, pred_ids, *category_of)


def bdd100k_image(folder, name):
    """Segments that are ignored or crowds become void, as in BDD100K's evaluator."""
    ids = []
    categories = []
    for side in ("gt", "pred"):
        red, attributes, high, low = (
            np.array(Image.open(folder / side / f"{name}.png")).transpose(2, 0, 1).astype(int)
        )
        number = high * 256 + low
        number[(attributes & IGNORED) > 0] = 0
        ids.append(number)
        categories.append(dict(zip(number.ravel().tolist(), red.ravel().tolist(), strict=True)))
    return table(*ids, categories[0].get, categories[1].get)


def table(target_ids, pred_ids, target_category, pred_category):
    """Triples of target id, predicted id and pixels, and the category of each id."""
    targets, preds, pixels = (column.tolist() for column in joint_histogram(target_ids, pred_ids))
    return {
        "size": list(target_ids.shape),
        "pairs": list(zip(targets, preds, pixels, strict=True)),
        "target": {key: target_category(key) for key in sorted(set(targets) - {0})},
        "pred": {key: pred_category(key) for key in sorted(set(preds) - {0})},
    }


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
