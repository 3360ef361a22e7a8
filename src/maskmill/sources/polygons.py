"""Polygons to pixels, filled as by the tools that wrote them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from maskmill.canonical.rle import rle_runs
from maskmill.sources.box_mask import BoxMask
from maskmill.sources.finding import Findings

Points = npt.NDArray[np.float64]
# `coco`: pycocotools, which fills about half of the outline's pixels;
# `pillow`: ImageDraw, which fills the outline, as labelme exports.
Rasterizer = Literal["coco", "pillow"]
MARGIN_PX = 2.0  # how far annotation tools let points be outside the image
FAR_PX = 1e12  # coordinates beyond it become this one: products of two stay exact enough
# pycocotools stores five points per pixel of the outline, so this is half a gigabyte.
MAX_OUTLINE_PX = 5_000_000


def polygon_mask(
    polygons: Sequence[Points], size: tuple[int, int], rasterizer: Rasterizer
) -> BoxMask:
    """The pixels inside any of several polygons.

    Args:
        polygons: (N, 2) points x, y in pixels, from `keep_valid_polygons`; the top left corner of
            the image is 0, 0.
        size: height and width.
        rasterizer: the rule for pixels of the outline.

    Example:
        >>> square = np.array([[1.0, 1.0], [3.0, 1.0], [3.0, 3.0], [1.0, 3.0]])
        >>> polygon_mask([square], (4, 4), "coco").box
        (1, 1, 3, 3)
    """
    height, width = size
    if rasterizer == "coco":
        flat = [points.reshape(-1).tolist() for points in polygons]
        merged = coco_mask.merge(coco_mask.frPyObjects(flat, height, width))
        return BoxMask.from_runs(rle_runs(merged, size), height)
    # Pillow's result does not depend on the size of the canvas: one that ends with the polygons
    # is enough. It must begin with the image, since Pillow rounds single precision numbers.
    right, bottom = np.max([points.max(0) for points in polygons], axis=0)
    end = max(1, min(width, int(right) + 2)), max(1, min(height, int(bottom) + 2))
    canvas = Image.new("L", end)
    for points in polygons:
        ImageDraw.Draw(canvas).polygon(list(map(tuple, points.tolist())), outline=1, fill=1)
    return BoxMask.from_canvas(canvas)


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

    Returns:
        polygons whose points are at most the size of the image away from it.
    """
    height, width = size
    valid = []
    for points in polygons:
        cropped = points
        fault = _fault(points)
        if fault is None:
            cropped = crop_polygon(points, size)
            fault = _fault_on_image(cropped, size)
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
            warn_outside(low, high, size, file, name, findings)
        valid.append(cropped)
    return valid


def warn_outside(
    low: Points, high: Points, size: tuple[int, int], file: Path, name: str, findings: Findings
) -> None:
    """Report an object whose smallest and largest x, y, (2,) each, are outside the image."""
    height, width = size
    first = [round(value, 1) for value in low.tolist()]
    last = [round(value, 1) for value in high.tolist()]
    findings.warn(
        file,
        f"expected {name} inside the image of {width} x {height} pixels, but a polygon "
        f"extends from {first} to {last}",
        "check that labels and image belong together; what is outside is cropped",
    )


def crop_polygon(points: Points, size: tuple[int, int]) -> Points:
    """The part of a polygon that is at most the size of the image away from it.

    Pixels and memory of a rasterizer grow with the outline, so what is far away is cut off. A
    polygon without such points stays as it is. Sutherland and Hodgman, CACM 1974.

    Args:
        points: (N, 2) x, y in pixels, finite.
        size: height and width of the image.

    Returns:
        (M, 2); M is 0 if nothing is left.

    Example:
        >>> crop_polygon(np.array([[0.0, 0.0], [1e30, 0.0], [0.0, 5.0]]), (5, 10))[:3, 0].tolist()
        [0.0, 20.0, 20.0]
    """
    height, width = size
    limits = np.array([width, height], np.float64)
    if (points >= -limits).all() and (points <= 2 * limits).all():
        return points
    points = points.clip(-FAR_PX, FAR_PX)
    for axis in (0, 1):
        points = _crop_side(points, axis, -limits[axis], sign=1)
        points = _crop_side(points, axis, 2 * limits[axis], sign=-1)
    return points


def _crop_side(points: Points, axis: int, limit: float, *, sign: int) -> Points:
    """The part of a polygon (N, 2) above (sign 1) or below (sign -1) a limit of x or y."""
    if not len(points):
        return points
    following = np.roll(points, -1, axis=0)
    isinside = sign * (points[:, axis] - limit) >= 0
    iscrossing = isinside != np.roll(isinside, -1)
    # for each point: keep it if it is inside, then add where its edge crosses the limit
    step = np.where(iscrossing, following[:, axis] - points[:, axis], 1.0)
    share = ((limit - points[:, axis]) / step)[:, None]
    crossing = points + share * (following - points)
    crossing[:, axis] = limit
    both: Points = np.stack([points, crossing], axis=1).reshape(-1, 2)
    iskept = np.stack([isinside, iscrossing], axis=1).reshape(-1)
    return np.asarray(both[iskept])


def _fault_on_image(points: Points, size: tuple[int, int]) -> str | None:
    """Why a cropped polygon cannot be drawn on its image, or None."""
    height, width = size
    if not len(points) or _is_outside(points, size):
        return f"lies outside the image of {width} x {height} pixels"
    following = np.concatenate([points[1:], points[:1]])  # np.roll takes ten times as long
    steps = np.abs(following - points).max(1)
    if steps.sum() > MAX_OUTLINE_PX:
        return f"has an outline of {steps.sum():,.0f} pixels"
    x, y = points.T
    next_x, next_y = following.T
    twice_the_area = float(np.dot(x, next_y) - np.dot(y, next_x))  # shoelace
    return "encloses no area" if abs(twice_the_area) < 1e-6 else None


def _is_outside(points: Points, size: tuple[int, int]) -> bool:
    """Whether all points are beyond one border of the image."""
    height, width = size
    return bool((points.max(0) <= 0).any() or (points.min(0) >= (width, height)).any())


def _fault(points: Points) -> str | None:
    """What is wrong with a polygon wherever it is, or None."""
    if points.ndim != 2 or len(points) < 3:
        num_points = points.size // 2
        return f"has {num_points} point{'' if num_points == 1 else 's'}"
    if not np.isfinite(points).all():
        return "has a coordinate that is NaN or infinite"
    return None
