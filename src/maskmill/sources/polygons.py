"""Polygons to pixels, filled as by the tools that wrote them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from maskmill.sources.finding import Findings

Mask = npt.NDArray[np.bool_]
Points = npt.NDArray[np.float64]
# `coco`: pycocotools, which fills about half of the outline's pixels;
# `pillow`: ImageDraw, which fills the outline, as labelme exports.
Rasterizer = Literal["coco", "pillow"]
MARGIN_PX = 2.0  # how far annotation tools let points be outside the image


def polygon_mask(polygons: Sequence[Points], size: tuple[int, int], rasterizer: Rasterizer) -> Mask:
    """The pixels inside any of several polygons.

    Args:
        polygons: (N, 2) points x, y in pixels; the top left corner of the image is 0, 0.
        size: height and width.
        rasterizer: the rule for pixels of the outline.

    Returns:
        (H, W) bool.

    Example:
        >>> square = np.array([[1.0, 1.0], [3.0, 1.0], [3.0, 3.0], [1.0, 3.0]])
        >>> polygon_mask([square], (4, 4), "coco").astype(int).tolist()
        [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    """
    height, width = size
    if rasterizer == "coco":
        flat = [points.reshape(-1).tolist() for points in polygons]
        runs = coco_mask.frPyObjects(flat, height, width)
        return np.asarray(coco_mask.decode(coco_mask.merge(runs)), dtype=bool)
    canvas = Image.new("1", (width, height))
    for points in polygons:
        ImageDraw.Draw(canvas).polygon(list(map(tuple, points.tolist())), outline=1, fill=1)
    return np.asarray(canvas, dtype=bool)


def keep_valid_polygons(
    polygons: Sequence[Points], size: tuple[int, int], file: Path, name: str, findings: Findings
) -> list[Points]:
    """The polygons that enclose pixels of the image; the others become findings.

    Args:
        polygons: (N, 2) points x, y in pixels.
        size: height and width of the image.
        file: the file with the polygons.
        name: the name of the object in messages, such as "annotation 12".
        findings: receives a warning for each polygon that is dropped or partly outside the image.
    """
    height, width = size
    valid = []
    for points in polygons:
        fault = _fault(points)
        if fault is None and _is_outside(points, size):
            fault = f"lies outside the image of {width} x {height} pixels"
        if fault is not None:
            findings.warn(
                file,
                f"expected {name} as a polygon with an area, but one {fault}",
                "either draw it again or remove it; it is not used",
            )
            continue
        low = points.min(0)
        high = points.max(0)
        if (low < -MARGIN_PX).any() or (high > np.array([width, height]) + MARGIN_PX).any():
            findings.warn(
                file,
                f"expected {name} inside the image of {width} x {height} pixels, but a polygon "
                f"extends from {low.round(1).tolist()} to {high.round(1).tolist()}",
                "check that labels and image belong together; what is outside is cropped",
            )
        valid.append(points)
    return valid


def _is_outside(points: Points, size: tuple[int, int]) -> bool:
    """Whether all points are beyond one border of the image."""
    height, width = size
    return bool((points.max(0) <= 0).any() or (points.min(0) >= (width, height)).any())


def _fault(points: Points) -> str | None:
    """What is wrong with a polygon, or None."""
    if points.ndim != 2 or len(points) < 3:
        num_points = points.size // 2
        return f"has {num_points} point{'' if num_points == 1 else 's'}"
    if not np.isfinite(points).all():
        return "has a coordinate that is NaN or infinite"
    x, y = points.T
    twice_the_area = float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))  # shoelace
    return "encloses no area" if abs(twice_the_area) < 1e-6 else None
