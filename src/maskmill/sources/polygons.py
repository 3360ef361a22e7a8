"""Polygons to pixels, as the tools that wrote them fill them."""

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
# `coco`: pycocotools, whose outline lies half inside; `pillow`: ImageDraw with its outline filled, as labelme exports.
Rasterizer = Literal["coco", "pillow"]
MARGIN_PX = 2.0  # how far annotation tools let a point leave the image


def polygon_mask(polygons: Sequence[Points], size: tuple[int, int], rasterizer: Rasterizer) -> Mask:
    """The pixels in any of some polygons.

    Args:
        polygons: (N, 2) points x, y in pixels, the image's left upper corner being 0, 0.
        size: height and width.
        rasterizer: whose rule for the pixels of the outline.

    Returns:
        (H, W) bool.
    """
    height, width = size
    if rasterizer == "coco":
        runs = coco_mask.frPyObjects(
            [points.reshape(-1).tolist() for points in polygons], height, width
        )
        return np.asarray(coco_mask.decode(coco_mask.merge(runs)), dtype=bool)
    canvas = Image.new("1", (width, height))
    for points in polygons:
        ImageDraw.Draw(canvas).polygon([(x, y) for x, y in points.tolist()], outline=1, fill=1)
    return np.asarray(canvas, dtype=bool)


def sound_polygons(
    polygons: Sequence[Points], size: tuple[int, int], file: Path, which: str, findings: Findings
) -> list[Points]:
    """Those polygons that enclose pixels of the image; the others become findings.

    Args:
        polygons: (N, 2) points x, y in pixels.
        size: height and width of the image.
        file: where they stand.
        which: the object's name for a person, as "annotation 12".
        findings: gets a warning for each polygon that is left out or leaves the image.
    """
    height, width = size
    sound = []
    for points in polygons:
        fault = _fault(points)
        if fault is None and (points.max(0) <= 0).any() | (points.min(0) >= (width, height)).any():
            fault = f"lies outside the image of {width} x {height} pixels"
        if fault is not None:
            findings.warn(
                file,
                f"expected {which} as a polygon with an area, but one {fault}",
                "draw it again or remove it; it is left out",
            )
            continue
        if (points.min(0) < -MARGIN_PX).any() or (
            points.max(0) > np.array([width, height]) + MARGIN_PX
        ).any():
            findings.warn(
                file,
                f"expected {which} inside the image of {width} x {height} pixels, but a polygon reaches from "
                f"{points.min(0).round(1).tolist()} to {points.max(0).round(1).tolist()}",
                "check that labels and image belong together; what is outside is cut off",
            )
        sound.append(points)
    return sound


def _fault(points: Points) -> str | None:
    if points.ndim != 2 or len(points) < 3:
        return f"has {points.size // 2} point{'s' * (points.size // 2 != 1)}"
    if not np.isfinite(points).all():
        return "has a point that is no number"
    x, y = points.T
    doubled = float(
        np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))
    )  # Gauss's formula: twice the area
    return "encloses nothing" if abs(doubled) < 1e-6 else None
