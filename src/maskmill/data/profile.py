"""What a prepared training split looks like, in a few numbers: the basis of `maskmill plan`."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from maskmill.canonical.categories import Categories
from maskmill.canonical.dataset_file import read_dataset_file
from maskmill.canonical.folder import PanopticFolder

MAX_DECODED = 48  # images whose brightness is looked at; all others are known from the index
MIN_UPRIGHT_IMAGES = 4
UPRIGHT_SHIFT = 0.08  # of the image height, from the middle


@dataclass(frozen=True)
class Spread:
    """Percentiles of a measure over all objects.

    Args:
        low: the 5th percentile.
        middle: the median.
        high: the 95th percentile.
    """

    low: float
    middle: float
    high: float


@dataclass(frozen=True)
class DataProfile:
    """The training split of a prepared data set in numbers; lengths in px, areas in px.

    Args:
        num_images: of the training split.
        num_val: of the validation split.
        height: median of the images.
        width: median of the images.
        largest_area: of an image.
        size_ratio: area of the largest image divided by that of the smallest.
        thing_names: the countable classes.
        stuff_names: the uncountable classes.
        shares: class name -> its share of the labelled pixels; 0 if it does not occur.
        object_side: of the longer sides of the objects' boxes; None without objects.
        smallest_object: 1st percentile of the objects' areas; 0 without objects.
        smallest_stuff: 1st percentile of the areas of stuff segments; 0 without stuff.
        objects_per_image: the largest number in one image.
        upright_class: the class that lies highest or lowest in the images; None if no class has
            a vertical position of its own, as in views from above and in microscopy.
        brightness_spread: standard deviation of the mean levels (0 to 255) of the images.
    """

    num_images: int
    num_val: int
    height: int
    width: int
    largest_area: int
    size_ratio: float
    thing_names: tuple[str, ...]
    stuff_names: tuple[str, ...]
    shares: Mapping[str, float]
    object_side: Spread | None
    smallest_object: int
    smallest_stuff: int
    objects_per_image: int
    upright_class: str | None
    brightness_spread: float


def read_profile(root: Path) -> DataProfile:
    """Profile the training split that `prepare` wrote; reads its index and at most 48 images.

    Raises:
        FileNotFoundError: there is no prepared data set.
        ValueError: the training split has no images or no labels.
    """
    path = root / "dataset.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{root}: expected a prepared data set (dataset.json), but there is none - run "
            "`maskmill prepare` first"
        )
    dataset = read_dataset_file(path, required=("categories", "splits", "statistics"))
    categories = Categories.from_list(dataset["categories"], path)
    num_images = dataset["splits"].get("train", {}).get("num_images", 0)
    if not num_images:
        raise ValueError(
            f"{root}: expected images in the split train, but it has none - set the splits of the "
            "source and prepare again"
        )
    shares = _shares(dataset["statistics"]["train"])
    if not any(shares.values()):
        raise ValueError(
            f"{root}: expected labels in the split train, but no pixel has a class - run "
            "`maskmill check` to see why"
        )
    folder = PanopticFolder(root / "train")
    sizes = np.array([(record.height, record.width) for record in folder.records])  # (N, 2)
    areas = sizes.prod(axis=1)
    segments = _Segments(categories)
    for record in folder.records:
        segments.add(folder.annotation(record.id)["segments_info"], record.height)
    names = {category.name: category.isthing for category in categories}
    return DataProfile(
        num_images=num_images,
        num_val=dataset["splits"].get("val", {}).get("num_images", 0),
        height=int(np.median(sizes[:, 0])),
        width=int(np.median(sizes[:, 1])),
        largest_area=int(areas.max()),
        size_ratio=float(areas.max() / areas.min()),
        thing_names=tuple(name for name in names if names[name]),
        stuff_names=tuple(name for name in names if not names[name]),
        shares=shares,
        object_side=_spread(segments.sides),
        smallest_object=_first_percentile(segments.thing_areas),
        smallest_stuff=_first_percentile(segments.stuff_areas),
        objects_per_image=segments.most_objects,
        upright_class=segments.upright_class(),
        brightness_spread=_brightness_spread(folder),
    )


@dataclass
class _Segments:
    """Measures of the segments, collected image by image."""

    categories: Categories
    sides: list[int] = field(default_factory=list)
    thing_areas: list[int] = field(default_factory=list)
    stuff_areas: list[int] = field(default_factory=list)
    most_objects: int = 0
    # category id -> the mean vertical position of its segments in each image, 0 at the top
    heights: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, rows: Sequence[Mapping[str, Any]], image_height: int) -> None:
        """Add the segments of one image; crowds are not objects."""
        positions: dict[int, list[float]] = defaultdict(list)
        num_objects = 0
        for row in rows:
            if row.get("iscrowd"):
                continue
            _, top, box_width, box_height = row["bbox"]
            positions[row["category_id"]].append((top + box_height / 2) / image_height)
            if not self.categories[row["category_id"]].isthing:
                self.stuff_areas.append(row["area"])
                continue
            num_objects += 1
            self.sides.append(max(box_width, box_height))
            self.thing_areas.append(row["area"])
        self.most_objects = max(self.most_objects, num_objects)
        for category_id, values in positions.items():
            self.heights[category_id].append(float(np.mean(values)))

    def upright_class(self) -> str | None:
        """The class whose mean position differs most, and reliably, from the middle."""
        shift_of = {}
        for category_id, heights in self.heights.items():
            if len(heights) < MIN_UPRIGHT_IMAGES:
                continue
            shift = abs(float(np.mean(heights)) - 0.5)
            error = float(np.std(heights)) / len(heights) ** 0.5
            if shift > max(UPRIGHT_SHIFT, 3 * error):
                shift_of[category_id] = shift
        if not shift_of:
            return None
        return self.categories[max(shift_of, key=lambda key: shift_of[key])].name


def _shares(statistics: Mapping[str, Any]) -> dict[str, float]:
    labelled = max(statistics["pixels"] - statistics["void_pixels"], 1)
    shares = {}
    for row in statistics["classes"]:
        shares[row["name"]] = row["pixels"] / labelled
    return shares


def _spread(values: Sequence[int]) -> Spread | None:
    if not values:
        return None
    low, middle, high = np.percentile(values, [5, 50, 95])
    return Spread(float(low), float(middle), float(high))


def _first_percentile(values: Sequence[int]) -> int:
    return int(np.percentile(values, 1)) if values else 0


def _brightness_spread(folder: PanopticFolder) -> float:
    """Of at most `MAX_DECODED` images, evenly spaced."""
    step = -(-len(folder.records) // MAX_DECODED)
    means = []
    for record in folder.records[::step]:
        means.append(float(folder.image(record).mean()))
    return float(np.std(means))
