"""Statistics of a split, kept in integers: the order of the images does not change them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from math import sqrt
from typing import Any, TypedDict

import cv2
import numpy as np

from maskmill.canonical.categories import Categories, Category
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import RGB

SMALL_PX, LARGE_PX = 32**2, 96**2  # COCO's bounds of small, medium and large objects


class Column(IntEnum):
    """The columns of the counts of a class."""

    PIXELS = 0
    SEGMENTS = 1
    SMALL = 2
    MEDIUM = 3
    LARGE = 4


class Counts(TypedDict):
    """The counts of one image, as JSON can store them.

    height, width: in pixels.
    sums: the sum of the levels of each channel.
    squares: the sum of their squares.
    classes: category id as a string -> a count for each `Column`.
    """

    height: int
    width: int
    sums: list[int]
    squares: list[int]
    classes: dict[str, list[int]]


def count_image(rgb: RGB, panoptic: Panoptic) -> Counts:
    """Count the pixels and segments of one image, (H, W, 3) uint8, and its labels."""
    classes: dict[str, list[int]] = {}
    for segment in panoptic.segments:
        row = classes.setdefault(str(segment.category_id), [0] * len(Column))
        row[Column.PIXELS] += segment.area
        row[Column.SEGMENTS] += 1
        row[_size_column(segment.area)] += 1
    # OpenCV returns integers as float64 that may be wrong in the last digits; rounding is exact
    # below 2**53 / 1000.
    sums = [round(total) for total in cv2.sumElems(rgb)[:3]]
    squares = [round(cv2.norm(channel, cv2.NORM_L2SQR)) for channel in cv2.split(rgb)]
    height, width = rgb.shape[:2]
    return Counts(height=height, width=width, sums=sums, squares=squares, classes=classes)


def _size_column(area_px: int) -> Column:
    if area_px >= LARGE_PX:
        return Column.LARGE
    return Column.MEDIUM if area_px >= SMALL_PX else Column.SMALL


@dataclass
class SplitStatistics:
    """The summed counts of a split; their size does not grow with the number of images."""

    num_images: int = 0
    num_pixels: int = 0
    heights: tuple[int, int] | None = None
    widths: tuple[int, int] | None = None
    sums: list[int] = field(default_factory=lambda: [0, 0, 0])
    squares: list[int] = field(default_factory=lambda: [0, 0, 0])
    images_of: Counter[int] = field(default_factory=Counter)
    image_pixels_of: Counter[int] = field(default_factory=Counter)
    rows: dict[int, list[int]] = field(default_factory=dict)

    def add(self, counts: Counts) -> None:
        """Add the counts of one image."""
        num_pixels = counts["height"] * counts["width"]
        self.num_images += 1
        self.num_pixels += num_pixels
        self.heights = _extend(self.heights, counts["height"])
        self.widths = _extend(self.widths, counts["width"])
        self.sums = _add(self.sums, counts["sums"])
        self.squares = _add(self.squares, counts["squares"])
        for key, row in counts["classes"].items():
            category_id = int(key)
            self.images_of[category_id] += 1
            self.image_pixels_of[category_id] += num_pixels
            self.rows[category_id] = _add(self._row(category_id), row)

    @property
    def void_pixels(self) -> int:
        """The number of pixels without a class."""
        return self.num_pixels - sum(row[Column.PIXELS] for row in self.rows.values())

    def summarize(self, categories: Categories) -> dict[str, Any]:
        """The statistics for dataset.json.

        Args:
            categories: the category table; classes without a pixel are listed too.

        Returns:
            pixels, void_pixels, smallest and largest height and width, rgb_mean and rgb_std in
            0..255, and per class pixels, images, segments, how many of these are small, medium and
            large in COCO's sense, and `weight`: median frequency balancing (Eigen and Fergus,
            ICCV 2015, sec. 6.3.2), None for a class without pixels.
        """
        means = []
        stds = []
        for total, total_of_squares in zip(self.sums, self.squares, strict=True):
            mean = total / self.num_pixels
            mean_square = total_of_squares / self.num_pixels
            std = sqrt(max(mean_square - mean * mean, 0))
            means.append(round(mean, 3))
            stds.append(round(std, 3))
        pixels = {}
        for category_id, row in self.rows.items():
            pixels[category_id] = row[Column.PIXELS], self.image_pixels_of[category_id]
        weights = balanced_weights(pixels)
        return {
            "pixels": self.num_pixels,
            "void_pixels": self.void_pixels,
            "height": list(self.heights or ()),
            "width": list(self.widths or ()),
            "rgb_mean": means,
            "rgb_std": stds,
            "classes": [self._class_row(category, weights) for category in categories],
        }

    def _row(self, category_id: int) -> list[int]:
        return self.rows.get(category_id, [0] * len(Column))

    def _class_row(self, category: Category, weights: Mapping[int, float]) -> dict[str, Any]:
        row = self._row(category.id)
        return {
            "id": category.id,
            "name": category.name,
            "pixels": row[Column.PIXELS],
            "images": self.images_of[category.id],
            "segments": row[Column.SEGMENTS],
            "small": row[Column.SMALL],
            "medium": row[Column.MEDIUM],
            "large": row[Column.LARGE],
            "weight": weights.get(category.id),
        }


def balanced_weights(pixels: Mapping[int, tuple[int, int]]) -> dict[int, float]:
    """Class -> the median of the frequencies of all classes, divided by its own frequency.

    Args:
        pixels: class -> its pixels, and the pixels of the images that contain it.

    Example:
        >>> balanced_weights({0: (80, 100), 1: (20, 100), 2: (40, 100)})
        {0: 0.5, 1: 2.0, 2: 1.0}
    """
    frequencies = {}
    for class_id, (class_pixels, image_pixels) in pixels.items():
        if class_pixels:
            frequencies[class_id] = class_pixels / image_pixels
    if not frequencies:
        return {}
    median = float(np.median(list(frequencies.values())))
    weights = {}
    for class_id, frequency in frequencies.items():
        weights[class_id] = round(median / frequency, 4)
    return weights


def _add(first: Sequence[int], second: Sequence[int]) -> list[int]:
    return [a + b for a, b in zip(first, second, strict=True)]


def _extend(limits: tuple[int, int] | None, value: int) -> tuple[int, int]:
    """The smallest and largest value so far."""
    if limits is None:
        return value, value
    low, high = limits
    return min(low, value), max(high, value)
