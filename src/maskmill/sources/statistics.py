"""What a split holds, in whole numbers: the same however the images are dealt to workers."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import RGB


@dataclass(frozen=True)
class ImageCounts:
    """One image: size in pixels, per channel sum and sum of squares, and category id -> pixels, segments."""

    height: int
    width: int
    sums: tuple[int, ...]
    squares: tuple[int, ...]
    classes: dict[int, tuple[int, int]]


def count_image(rgb: RGB, panoptic: Panoptic) -> ImageCounts:
    """Count one image, (H, W, 3) uint8, and its labels."""
    levels = np.arange(256, dtype=np.int64)
    histograms = [np.bincount(rgb[..., channel].reshape(-1), minlength=256) for channel in range(3)]
    classes: dict[int, tuple[int, int]] = {}
    for segment in panoptic.segments:
        pixels, segments = classes.get(segment.category_id, (0, 0))
        classes[segment.category_id] = (pixels + segment.area, segments + 1)
    return ImageCounts(
        height=rgb.shape[0],
        width=rgb.shape[1],
        sums=tuple(int((histogram * levels).sum()) for histogram in histograms),
        squares=tuple(int((histogram * levels * levels).sum()) for histogram in histograms),
        classes=classes,
    )


def summarize(counts: Iterable[ImageCounts], categories: Categories) -> dict[str, Any]:
    """The statistics of a split, as dataset.json has them.

    Args:
        counts: of its images, at least one.
        categories: classes without a pixel are listed too.

    Returns:
        pixels, void_pixels, smallest and largest height and width, rgb_mean and rgb_std in 0..255, and per class pixels, images, segments.
    """
    counts = list(counts)
    num_pixels = sum(count.height * count.width for count in counts)
    means = [sum(count.sums[channel] for count in counts) / num_pixels for channel in range(3)]
    squares = [sum(count.squares[channel] for count in counts) / num_pixels for channel in range(3)]
    rows: list[dict[str, Any]] = []
    for category in categories:
        found = [count.classes[category.id] for count in counts if category.id in count.classes]
        pixels, segments = sum(row[0] for row in found), sum(row[1] for row in found)
        rows.append({"id": category.id, "name": category.name, "pixels": pixels, "images": len(found), "segments": segments})
    return {
        "pixels": num_pixels,
        "void_pixels": num_pixels - sum(row["pixels"] for row in rows),
        "height": [min(count.height for count in counts), max(count.height for count in counts)],
        "width": [min(count.width for count in counts), max(count.width for count in counts)],
        "rgb_mean": [round(mean, 3) for mean in means],
        "rgb_std": [round(sqrt(max(square - mean * mean, 0)), 3) for mean, square in zip(means, squares, strict=True)],
        "classes": rows,
    }
