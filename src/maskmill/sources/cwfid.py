"""The Crop/Weed Field Image Dataset (Haug and Ostermann, CVPPP 2014): a class image in colours, and a polygon per plant in YAML."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import yaml

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.sources.class_maps import panoptic_of_instances
from maskmill.sources.finding import Findings
from maskmill.sources.folders import require_folder
from maskmill.sources.label_images import ColorImage
from maskmill.sources.polygons import Points, polygon_mask, sound_polygons
from maskmill.sources.source import Sample, Source
from maskmill.sources.splits import Split, require_each, split_of

SOIL, CROP, WEED = 0, 1, 2
IDS = {"crop": CROP, "weed": WEED}
IMAGE, LABELS = "_image.png", "_annotation.png"  # ends of file names after the number


class Cwfid(Source):
    """Soil is stuff, every crop and weed plant a thing.

    The class image says which pixels are crop or weed, the polygons which plant they are: a pixel belongs to the polygon of its class
    that holds it, the later of two, and else to the nearest of its class.

    The official lists share an image and leave no validation images, so all images at hand are dealt by a rule.

    Args:
        root: the data set's folder.
        splits: split -> share of the images, dealt by hash of the number, or a rule of `splits`.
        seed: of the dealing by hash.
    """

    def __init__(self, root: Path, splits: Mapping[str, float] | Split, *, seed: int = 0) -> None:
        self.root = root
        self.split = split_of(splits, seed=seed)
        colors = {"soil": (0, 0, 0), "crop": (0, 255, 0), "weed": (255, 0, 0)}
        ids = {"soil": SOIL} | IDS
        self._categories = Categories.from_list(
            [
                {"id": ids[name], "name": name, "isthing": int(name != "soil"), "color": color}
                for name, color in colors.items()
            ]
        )

    @property
    def categories(self) -> Categories:
        """Soil, crop and weed, in the colours of the class images."""
        return self._categories

    def samples(self, findings: Findings) -> list[Sample]:
        """The images in the order of their numbers; see `Source.samples`."""
        folder, labels = (
            require_folder(self.root / "images"),
            require_folder(self.root / "annotations"),
        )
        numbers = sorted(path.name.removesuffix(IMAGE) for path in folder.glob(f"*{IMAGE}"))
        for path in sorted(labels.glob("*.png")):
            if path.name.removesuffix(LABELS) not in numbers:
                findings.error(
                    path,
                    f"expected an image for these labels in {folder}, but there is none",
                    "add it or remove the labels",
                )
        samples = [
            Sample("", number, folder / f"{number}{IMAGE}", labels / f"{number}{LABELS}")
            for number in numbers
        ]
        return require_each(self.split.shares, self.split.deal(samples, self.classes_of), folder)

    def files(self, sample: Sample) -> tuple[Path, ...]:
        """The image, its class image and its polygons."""
        return sample.image, sample.labels, sample.labels.with_suffix(".yaml")

    def read(self, sample: Sample, findings: Findings) -> Panoptic:
        """Soil, and the plants numbered as their polygons; see `Source.read`."""
        classes = ColorImage().read(sample.labels, self.categories)
        path = sample.labels.with_suffix(".yaml")
        polygons: dict[int, tuple[int, Points]] = {}
        for number, row in enumerate(_yaml(path).get("annotation", []), start=1):
            category_id, points = _plant(row, path, number)
            sound = sound_polygons(
                [points],
                (classes.shape[0], classes.shape[1]),
                path,
                f"plant {number} ({row['type']})",
                findings,
            )
            if sound:
                polygons[number] = (category_id, sound[0])
        numbers = np.zeros(classes.shape, np.int32)
        for number, (category_id, points) in polygons.items():
            numbers[
                polygon_mask([points], (classes.shape[0], classes.shape[1]), "pillow")
                & (classes == category_id)
            ] = number
        for category_id in IDS.values():
            own = {
                number: points for number, (kind, points) in polygons.items() if kind == category_id
            }
            _to_nearest(numbers, (classes == category_id) & (numbers == 0), own, path)
        return panoptic_of_instances(classes, numbers, self.categories, void_ids=())


def _to_nearest(
    numbers: npt.NDArray[np.int32],
    mask: npt.NDArray[np.bool_],
    polygons: dict[int, Points],
    path: Path,
) -> None:
    """Give the pixels of `mask` the number of the nearest polygon."""
    ys, xs = np.nonzero(mask)
    if ys.size and not polygons:
        raise ValueError(
            f"{path}: expected a polygon for every class of the class image, but one has none - add it"
        )
    shapes = [np.ascontiguousarray(points, np.float32) for points in polygons.values()]
    for y, x in zip(ys.tolist(), xs.tolist(), strict=True):
        distances = [
            cv2.pointPolygonTest(shape, (x, y), measureDist=True) for shape in shapes
        ]  # positive inside
        numbers[y, x] = list(polygons)[int(np.argmax(distances))]


def _plant(row: dict[str, Any], path: Path, number: int) -> tuple[int, Points]:
    """The class and the points of a plant; a single point stands without a list."""
    try:
        category_id = IDS[row["type"]]
        x, y = np.atleast_1d(row["points"]["x"]), np.atleast_1d(row["points"]["y"])
        return category_id, np.stack([x, y], axis=1).astype(np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: expected plant {number} with `type` crop or weed and `points` x and y, but got {str(row)[:80]} - mend the row"
        ) from error


def _yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected a YAML file of the data set here, but there is none - check `source.root`"
        )
    try:
        content = yaml.load(
            path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        )
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: expected YAML, but {' '.join(str(error).split())} - replace the file"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{path}: expected a YAML mapping, but got {type(content).__name__} - replace the file"
        )
    return content
