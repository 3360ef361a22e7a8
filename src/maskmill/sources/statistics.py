"""What a split holds, in whole numbers: the same however the images are dealt to workers."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

import cv2
import numpy as np

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import RGB

SMALL_PX, LARGE_PX = 32**2, 96**2  # COCO's bounds of small, medium and large objects
Counts = dict[str, Any]


def count_image(rgb: RGB, panoptic: Panoptic) -> Counts:
    """Count one image, (H, W, 3) uint8, and its labels.

    Returns:
        height, width; per channel the sums of levels and of their squares; and category id (a string, as JSON has it) -> pixels,
        segments, and how many of these are small, medium and large. Plain numbers, so that JSON keeps them.
    """
    classes: dict[str, list[int]] = {}
    for segment in panoptic.segments:
        row = classes.setdefault(str(segment.category_id), [0, 0, 0, 0, 0])
        row[0] += segment.area
        row[1] += 1
        row[2 + (segment.area >= SMALL_PX) + (segment.area >= LARGE_PX)] += 1
    return {
        "height": rgb.shape[0],
        "width": rgb.shape[1],
        # OpenCV hands whole numbers back as float64, perhaps off by some of its last digits: below 2**53 / 1000 rounding mends that.
        "sums": [round(total) for total in cv2.sumElems(rgb)[:3]],
        "squares": [round(cv2.norm(channel, cv2.NORM_L2SQR)) for channel in cv2.split(rgb)],
        "classes": classes,
    }


@dataclass
class SplitStatistics:
    """The sum of the counts of a split; its size does not grow with the number of images."""

    num_images: int = 0
    num_pixels: int = 0
    heights: tuple[int, int] | None = None
    widths: tuple[int, int] | None = None
    sums: tuple[int, ...] = (0, 0, 0)
    squares: tuple[int, ...] = (0, 0, 0)
    images_of: Counter[int] = field(default_factory=Counter)
    image_pixels_of: Counter[int] = field(default_factory=Counter)
    rows: dict[int, list[int]] = field(default_factory=dict)

    def add(self, counts: Mapping[str, Any]) -> None:
        """Add one image's counts."""
        height, width = counts["height"], counts["width"]
        self.num_images += 1
        self.num_pixels += height * width
        self.heights, self.widths = _reach(self.heights, height), _reach(self.widths, width)
        self.sums = tuple(map(sum, zip(self.sums, counts["sums"], strict=True)))
        self.squares = tuple(map(sum, zip(self.squares, counts["squares"], strict=True)))
        for key, row in counts["classes"].items():
            self.images_of[int(key)] += 1
            self.image_pixels_of[int(key)] += height * width
            self.rows[int(key)] = [
                old + new for old, new in zip(self.rows.get(int(key), [0] * 5), row, strict=True)
            ]

    @property
    def void_pixels(self) -> int:
        """Pixels of no class."""
        return self.num_pixels - sum(row[0] for row in self.rows.values())

    def summarize(self, categories: Categories) -> dict[str, Any]:
        """The statistics as dataset.json has them.

        Args:
            categories: classes without a pixel are listed too.

        Returns:
            pixels, void_pixels, smallest and largest height and width, rgb_mean and rgb_std in 0..255, and per class pixels, images,
            segments, how many of these are small, medium and large in COCO's sense, and `weight`: median frequency balancing
            (Eigen and Fergus, ICCV 2015, sec. 6.3.2), None for a class without pixels.
        """
        means = [value / self.num_pixels for value in self.sums]
        squares = [value / self.num_pixels for value in self.squares]
        weights = balanced_weights(
            {key: (row[0], self.image_pixels_of[key]) for key, row in self.rows.items()}
        )
        rows = []
        for category in categories:
            pixels, segments, *sizes = self.rows.get(category.id, [0] * 5)
            row = {
                "id": category.id,
                "name": category.name,
                "pixels": pixels,
                "images": self.images_of[category.id],
                "segments": segments,
            }
            rows.append(
                row
                | dict(zip(("small", "medium", "large"), sizes, strict=True))
                | {"weight": weights.get(category.id)}
            )
        return {
            "pixels": self.num_pixels,
            "void_pixels": self.void_pixels,
            "height": list(self.heights or ()),
            "width": list(self.widths or ()),
            "rgb_mean": [round(mean, 3) for mean in means],
            "rgb_std": [
                round(sqrt(max(square - mean * mean, 0)), 3)
                for mean, square in zip(means, squares, strict=True)
            ],
            "classes": rows,
        }


def balanced_weights(pixels: Mapping[int, tuple[int, int]]) -> dict[int, float]:
    """A weight per class: the median of all classes' frequencies over its own.

    Args:
        pixels: class -> its pixels, and those of the images it is in.
    """
    frequencies = {key: own / around for key, (own, around) in pixels.items() if own}
    median = float(np.median(list(frequencies.values()))) if frequencies else 0.0
    return {key: round(median / frequency, 4) for key, frequency in frequencies.items()}


def _reach(range_: tuple[int, int] | None, value: int) -> tuple[int, int]:
    low, high = range_ or (value, value)
    return min(low, value), max(high, value)
