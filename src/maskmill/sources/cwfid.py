"""The Crop/Weed Field Image Dataset (Haug and Ostermann, CVPPP 2014).

Each image has a class mask in colours, and a YAML file with a polygon per plant.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.schema import shorten
from maskmill.canonical.yaml_file import read_yaml
from maskmill.sources.class_maps import panoptic_from_instances
from maskmill.sources.finding import Findings
from maskmill.sources.folders import require_folder, visible_entries
from maskmill.sources.label_images import ColorImage, Labels
from maskmill.sources.pairs import UNASSIGNED
from maskmill.sources.polygons import Points, keep_valid_polygons, polygon_mask
from maskmill.sources.rows import Number, require_rows
from maskmill.sources.source import Sample, Source
from maskmill.sources.splits import Split, as_split, require_every_split

CROP, WEED = 1, 2
IDS = {"crop": CROP, "weed": WEED}
CATEGORIES = [
    {"id": 0, "name": "soil", "isthing": 0, "color": (0, 0, 0)},
    {"id": CROP, "name": "crop", "isthing": 1, "color": (0, 255, 0)},
    {"id": WEED, "name": "weed", "isthing": 1, "color": (255, 0, 0)},
]


@dataclass(frozen=True)
class PointsRow:
    """The coordinates of a plant in pixels; a single point is not in a list."""

    x: Number | list[Number]
    y: Number | list[Number]


@dataclass(frozen=True)
class PlantRow:
    """An entry of `annotation`."""

    type: Literal["crop", "weed"]
    points: PointsRow


PLANT = TypeAdapter(PlantRow)
IMAGE_ENDING = "_image.png"  # the file names of an image are its number and these
LABEL_ENDING = "_annotation.png"


class Cwfid(Source):
    """Soil is stuff, every crop and weed plant is a thing.

    The class mask says which pixels are crop or weed, the polygons say which plant they belong to.
    A pixel belongs to the polygon of its class that contains it (the later one of two), otherwise
    to the nearest polygon of its class.

    The official lists share an image and contain no validation images, so a rule assigns all
    images to splits.

    Args:
        root: the data set's folder.
        splits: split -> share of the images, assigned by a hash of the number, or a rule of
            `splits`.
        seed: seed of the hash.
    """

    def __init__(self, root: Path, splits: Mapping[str, float] | Split, *, seed: int = 0) -> None:
        self.root = root
        self.split = as_split(splits, seed=seed)
        self._categories = Categories.from_list(CATEGORIES)

    @property
    def categories(self) -> Categories:
        """Soil, crop and weed, with the colours of the class masks."""
        return self._categories

    def samples(self, findings: Findings) -> list[Sample]:
        """The images sorted by number; see `Source.samples`."""
        folder = require_folder(self.root / "images")
        label_folder = require_folder(self.root / "annotations")
        samples = []
        numbers = set()
        images = [path for path in visible_entries(folder) if path.name.endswith(IMAGE_ENDING)]
        for path in images:
            number = path.name.removesuffix(IMAGE_ENDING)
            numbers.add(number)
            samples.append(
                Sample(UNASSIGNED, number, str(path), str(label_folder / f"{number}{LABEL_ENDING}"))
            )
        samples.sort(key=lambda sample: sample.name)
        for path in visible_entries(label_folder):
            isorphan = path.name.removesuffix(LABEL_ENDING) not in numbers
            if isorphan and path.suffix.lower() == ".png":
                findings.error(
                    path,
                    f"expected an image for these labels in {folder}, but there is none",
                    "either add it or remove the labels",
                )
        assigned = self.split.assign(samples, self.classes_of)
        return require_every_split(self.split.shares, assigned, folder)

    def files(self, sample: Sample) -> tuple[Path, ...]:
        """The image, its class mask and its polygons."""
        return sample.image, sample.labels, sample.labels.with_suffix(".yaml")

    def read(self, sample: Sample, findings: Findings) -> Panoptic:
        """Soil, and the plants with the positions of their polygons as ids; see `Source.read`."""
        classes = ColorImage().read(sample.labels, self.categories)
        path = sample.labels.with_suffix(".yaml")
        polygons = _polygons(path, (classes.shape[0], classes.shape[1]), findings)
        instances = _instances(classes, polygons, path)
        return panoptic_from_instances(classes, instances, self.categories, void_ids=())


def _polygons(
    path: Path, size: tuple[int, int], findings: Findings
) -> dict[int, tuple[int, Points]]:
    """Instance id -> category id and points of the valid polygons in a YAML file."""
    rows = _yaml(path).get("annotation", [])
    if not isinstance(rows, list):
        raise ValueError(
            f"{path}: expected `annotation` as a list of plants, but got {shorten(rows)} - "
            "replace the file"
        )
    numbered = enumerate(rows, start=1)
    named = [(f"plant {instance_id}", row) for instance_id, row in numbered]
    plants = require_rows(PLANT, named, path, findings)
    polygons = {}
    for instance_id, (item, row) in enumerate(plants, start=1):
        name = f"{item} ({row.type})"
        for valid in keep_valid_polygons([_points(row, path, name)], size, path, name, findings):
            polygons[instance_id] = IDS[row.type], valid
    return polygons


def _instances(classes: Labels, polygons: dict[int, tuple[int, Points]], path: Path) -> Labels:
    """The instance-id mask, (H, W) int32: 0 on soil."""
    size = classes.shape[0], classes.shape[1]
    instances = np.zeros(size, np.int32)
    for instance_id, (category_id, points) in polygons.items():
        mask = polygon_mask([points], size, "pillow")
        isplant = mask.pixels & (classes[mask.window] == category_id)
        instances[mask.window][isplant] = instance_id
    for category_id in IDS.values():
        own = {}
        for instance_id, (polygon_category_id, points) in polygons.items():
            if polygon_category_id == category_id:
                own[instance_id] = points
        remaining = (classes == category_id) & (instances == 0)
        _assign_to_nearest(instances, remaining, own, path)
    return instances


def _assign_to_nearest(
    instances: Labels, mask: npt.NDArray[np.bool_], polygons: dict[int, Points], path: Path
) -> None:
    """Write the id of the nearest polygon into the pixels of `mask`."""
    ys, xs = np.nonzero(mask)
    if ys.size and not polygons:
        raise ValueError(
            f"{path}: expected a polygon for every class of the class mask, but one has none - "
            "add it"
        )
    instance_ids = list(polygons)
    shapes = [np.ascontiguousarray(points, np.float32) for points in polygons.values()]
    for y, x in zip(ys.tolist(), xs.tolist(), strict=True):
        # The distance is positive inside, so the largest one is the nearest polygon's.
        distances = [cv2.pointPolygonTest(shape, (x, y), measureDist=True) for shape in shapes]
        instances[y, x] = instance_ids[int(np.argmax(distances))]


def _points(row: PlantRow, path: Path, name: str) -> Points:
    """The points of a plant, (N, 2); a single point is not in a list."""
    x = np.atleast_1d(np.array(row.points.x, np.float64))
    y = np.atleast_1d(np.array(row.points.y, np.float64))
    if x.shape != y.shape:
        raise ValueError(
            f"{path}: expected x and y of every point of {name}, but got {x.size} and {y.size} - "
            "fix the row"
        )
    return np.stack([x, y], axis=1)


def _yaml(path: Path) -> dict[str, Any]:
    """The content of a YAML file of the data set."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected a YAML file of the data set, but there is none - check `source.root`"
        )
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ValueError(
            f"{path}: expected a YAML mapping, but got {type(content).__name__} - replace the file"
        )
    return content
