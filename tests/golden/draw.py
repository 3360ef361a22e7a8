"""Draw the annotations of this folder again: python tests/golden/draw.py FOLDER (see README.md)."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from maskmill.canonical.categories import Categories, Category
from maskmill.canonical.files import write_json
from maskmill.canonical.folder import ImageRecord, write_index, write_panoptic
from maskmill.canonical.panoptic import Panoptic
from maskmill.metrics.functional.mask_ap import coco_results

HEIGHT, WIDTH, NUM_IMAGES = 160, 240, 10
GROUND, SKY, WATER, BALL, BOX, TREE = 7, 12, 40, 2, 5, 31
CATEGORIES = Categories(
    [
        Category(GROUND, "ground", False, (90, 60, 20)),
        Category(BALL, "ball", True, (200, 0, 0)),
        Category(SKY, "sky", False, (90, 180, 250)),
        Category(BOX, "box", True, (200, 200, 0)),
        Category(WATER, "water", False, (0, 60, 200)),
        Category(TREE, "tree", True, (0, 120, 0)),
    ]
)
THINGS = (BALL, BOX, TREE)
ID_STEP = 70_001  # ids use all three bytes of a pixel


@dataclass(frozen=True)
class Thing:
    """An ellipse."""

    category_id: int
    center: tuple[int, int]
    axes: tuple[int, int]
    angle: int
    iscrowd: bool = False
    score: float = 1.0


@dataclass(frozen=True)
class Scene:
    """Bands of stuff, things in front of them, and an unlabelled corner."""

    horizon: int
    shore: int
    void: tuple[int, int]  # height and width
    things: tuple[Thing, ...]

    def panoptic(self, *, stuff: bool = True) -> Panoptic:
        """The labels; without stuff its pixels are void."""
        layer = np.zeros((HEIGHT, WIDTH), np.float32)
        category_of = {}
        if stuff:
            layer[: self.horizon] = 1
            layer[self.horizon : self.shore] = 2
            layer[self.shore :] = 3
            category_of = {1: SKY, 2: WATER, 3: GROUND}
        for number, thing in enumerate(self.things, start=4):
            cv2.ellipse(layer, thing.center, thing.axes, thing.angle, 0, 360, number, -1)
            category_of[number] = thing.category_id
        height, width = self.void
        layer[HEIGHT - height :, :width] = 0
        ids = layer.astype(np.int32) * ID_STEP
        numbered = list(enumerate(self.things, start=4))
        return Panoptic.from_ids(
            ids,
            {number * ID_STEP: key for number, key in category_of.items()},
            crowds={number * ID_STEP for number, thing in numbered if thing.iscrowd},
            scores={number * ID_STEP: thing.score for number, thing in numbered},
        )


def draw_scene(random: np.random.Generator, index: int) -> Scene:
    """A scene; every third has a crowd, every second an unlabelled corner, the last no water."""
    things = []
    for _ in range(int(random.integers(4, 9))):
        x, y = random.integers(0, [WIDTH, HEIGHT]).tolist()
        first, second = random.choice([6, 9, 14, 20, 32, 62], 2).tolist()
        category_id = int(random.choice(THINGS))
        things.append(Thing(category_id, (x, y), (first, second), int(random.integers(180))))
    if index % 3 == 0:
        things[0] = replace(things[0], axes=(50, 24), iscrowd=True)
    if index % 4 == 1:  # large by COCO's bounds
        things[1] = replace(things[1], center=(120, 80), axes=(80, 64))
    horizon = int(random.integers(40, 70))
    shore = horizon if index == NUM_IMAGES - 1 else int(random.integers(80, 120))
    void = (40, 70) if index % 2 else (0, 0)
    return Scene(horizon, shore, void, tuple(things))


def alter(scene: Scene, random: np.random.Generator, *, shift: float, wrong: float) -> Scene:
    """A prediction: things moved, some lost, renamed, found twice or invented; no void."""
    things = []
    for thing in scene.things:
        if random.random() < wrong:
            continue
        dx, dy = random.normal(0, shift, 2).round().astype(int).tolist()
        x, y = thing.center
        category_id = int(random.choice(THINGS)) if random.random() < wrong else thing.category_id
        score = float(random.integers(30, 100)) / 100  # equal scores occur
        moved = replace(
            thing, category_id=category_id, center=(x + dx, y + dy), iscrowd=False, score=score
        )
        things.append(moved)
        if random.random() < wrong:
            things.append(replace(moved, center=(x + dx + 5, y + dy), score=0.5))
    things += [replace(thing, score=0.4) for thing in draw_scene(random, 1).things[:1]]
    horizon = scene.horizon + int(random.normal(0, 2 * shift))
    return Scene(horizon, max(horizon, scene.shore), (0, 0), tuple(things))


def write(folder: Path, labels: list[Panoptic]) -> None:
    """Write labels in COCO's panoptic form."""
    records = []
    annotations = []
    for number, panoptic in enumerate(labels, start=1):
        record = ImageRecord(number, f"{number:02}.png", HEIGHT, WIDTH)
        records.append(record)
        annotations.append(write_panoptic(folder, record, panoptic))
    write_index(folder, CATEGORIES, records, annotations)


def instance_ground_truth(labels: list[Panoptic]) -> dict[str, object]:
    """The things of the ground truth in COCO's instance form."""
    annotations = []
    for image_id, panoptic in enumerate(labels, start=1):
        things = [row for row in panoptic.segments if CATEGORIES[row.category_id].isthing]
        for segment, row in zip(things, coco_results(panoptic, CATEGORIES), strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": segment.category_id,
                    "segmentation": row["segmentation"],
                    "area": segment.area,
                    "bbox": list(segment.bbox),
                    "iscrowd": int(segment.iscrowd),
                }
            )
    return {
        "images": [
            {"id": number, "height": HEIGHT, "width": WIDTH} for number in range(1, len(labels) + 1)
        ],
        "annotations": annotations,
        "categories": [row for row in CATEGORIES.as_list() if row["isthing"]],
    }


def main(folder: Path) -> None:
    """Draw everything."""
    random = np.random.default_rng(0)
    scenes = [draw_scene(random, index) for index in range(NUM_IMAGES)]
    target = [scene.panoptic() for scene in scenes]
    near = [alter(scene, random, shift=1.5, wrong=0.05) for scene in scenes]
    far = [alter(scene, random, shift=5, wrong=0.25) for scene in scenes]
    write(folder / "target", target)
    write(folder / "near", [scene.panoptic() for scene in near])
    write(folder / "far", [scene.panoptic() for scene in far])
    write(folder / "things_only", [scene.panoptic(stuff=False) for scene in near])
    write_json(folder / "instances.json", instance_ground_truth(target))
    for name, prediction in (("near", near), ("far", far)):
        results = []
        for image_id, scene in enumerate(prediction, start=1):
            rows = coco_results(scene.panoptic(), CATEGORIES)
            results += [{"image_id": image_id, **row} for row in rows]
        write_json(folder / f"results_{name}.json", results)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
