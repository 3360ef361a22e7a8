"""The shapes of a labelme file as pixels."""

import base64
import binascii
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from maskmill.sources.finding import Findings
from maskmill.sources.polygons import Mask, Points, keep_valid_polygons, polygon_mask

WITHOUT_AREA = {"point", "points", "line", "linestrip"}


def shape_mask(
    shape: dict[str, Any], size: tuple[int, int], path: Path, name: str, findings: Findings
) -> Mask | None:
    """The pixels of a shape, (H, W) bool, or None if it has no area.

    Args:
        shape: an entry of `shapes`.
        size: height and width of the image.
        path: the labelme file.
        name: the name of the shape in messages.
        findings: receives a warning for a shape without an area.

    Raises:
        ValueError: the shape is of an unknown kind, or its bitmap does not decode.
    """
    kind = shape.get("shape_type", "polygon")
    points = np.array(shape["points"], np.float64).reshape(-1, 2)
    if kind in WITHOUT_AREA:
        findings.warn(
            path,
            f"expected {name} with an area, but it is a {kind}",
            "draw a polygon; it is not used",
        )
        return None
    if kind == "mask":
        return _bitmap(shape, points, size, path, name)
    if kind == "circle" and len(points) == 2:
        return _circle(points, size)
    if kind == "rectangle" and len(points) == 2:
        points = _corners(points)
    elif kind not in {"polygon", "oriented_rectangle"}:
        raise ValueError(
            f"{path}: expected a shape with an area, but {name} is a {kind} of {len(points)} "
            "points - draw it as a polygon"
        )
    valid = keep_valid_polygons([points], size, path, name, findings)
    return polygon_mask(valid, size, "pillow") if valid else None


def _circle(points: Points, size: tuple[int, int]) -> Mask:
    """A circle, given by its centre and a point on it."""
    height, width = size
    x, y = points[0]
    radius = float(np.hypot(*(points[1] - points[0])))
    canvas = Image.new("1", (width, height))
    box = [x - radius, y - radius, x + radius, y + radius]
    ImageDraw.Draw(canvas).ellipse(box, outline=1, fill=1)
    return np.asarray(canvas, dtype=bool)


def _corners(points: Points) -> Points:
    """The four corners of a rectangle, given by two opposite ones."""
    left, top = points.min(0)
    right, bottom = points.max(0)
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def _bitmap(
    shape: dict[str, Any], points: Points, size: tuple[int, int], path: Path, name: str
) -> Mask:
    """A shape that labelme stores as a PNG in base64, with its top left corner."""
    try:
        data = base64.b64decode(shape["mask"], validate=True)
        bitmap = np.asarray(Image.open(io.BytesIO(data))) > 0
    except (KeyError, TypeError, binascii.Error, OSError) as error:
        raise ValueError(
            f"{path}: expected {name} with a mask, but it does not decode ({error}) - draw it again"
        ) from error
    left, top = points.min(0).astype(int).tolist()
    bottom = top + bitmap.shape[0]
    right = left + bitmap.shape[1]
    if left < 0 or top < 0 or bottom > size[0] or right > size[1]:
        raise ValueError(
            f"{path}: expected {name} inside the image, but its mask extends beyond it - "
            "draw it again"
        )
    mask = np.zeros(size, dtype=bool)
    mask[top:bottom, left:right] = bitmap
    return mask
