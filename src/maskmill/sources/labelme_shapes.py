"""The shapes of a labelme file as pixels."""

import base64
import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from PIL import Image, ImageDraw
from pydantic import AllowInfNan, Strict, TypeAdapter

from maskmill.sources.box_mask import BoxMask
from maskmill.sources.finding import Findings
from maskmill.sources.polygons import (
    FAR_PX,
    Points,
    keep_valid_polygons,
    polygon_mask,
    warn_outside,
)
from maskmill.sources.rows import Text

WITHOUT_AREA = {"point", "points", "line", "linestrip"}
Coordinate = Annotated[float, Strict(), AllowInfNan(False)]


@dataclass(frozen=True)
class ShapeRow:
    """An entry of `shapes`; `mask` is a PNG in base64."""

    label: Text
    points: list[tuple[Coordinate, Coordinate]]
    shape_type: Text = "polygon"
    group_id: Annotated[int, Strict()] | Text | None = None
    mask: Text | None = None


SHAPE = TypeAdapter(ShapeRow)


def shape_mask(
    shape: ShapeRow, size: tuple[int, int], path: Path, name: str, findings: Findings
) -> BoxMask | None:
    """The pixels of a shape, or None if it has no area.

    Args:
        shape: an entry of `shapes`.
        size: height and width of the image.
        path: the labelme file.
        name: the name of the shape in messages.
        findings: receives a warning for a shape without an area.

    Raises:
        ValueError: the shape is of an unknown kind, or its bitmap does not decode.
    """
    kind = shape.shape_type
    points = np.array(shape.points, np.float64).reshape(-1, 2).clip(-FAR_PX, FAR_PX)
    if kind in WITHOUT_AREA:
        findings.warn(
            path,
            f"expected {name} with an area, but it is a {kind}",
            "draw a polygon; it is not used",
        )
        return None
    if kind == "mask" and len(points):
        return _bitmap(shape, points, size, path, name)
    if kind == "circle" and len(points) == 2:
        return _circle(points, size, path, name, findings)
    if kind == "rectangle" and len(points) == 2:
        points = _corners(points)
    elif kind not in {"polygon", "oriented_rectangle"}:
        raise ValueError(
            f"{path}: expected a shape with an area, but {name} is a {kind[:40]!r} of "
            f"{len(points)} points - draw it as a polygon"
        )
    valid = keep_valid_polygons([points], size, path, name, findings)
    return polygon_mask(valid, size, "pillow") if valid else None


def _circle(
    points: Points, size: tuple[int, int], path: Path, name: str, findings: Findings
) -> BoxMask:
    """A circle, given by its centre and a point on it."""
    height, width = size
    x, y = points[0]
    radius = float(np.hypot(*(points[1] - points[0])))
    low = points[0] - radius
    high = points[0] + radius
    limits = np.array([width, height])
    if (low < -limits).any() or (high > 2 * limits).any():
        # Pillow's time grows with the circle, so that of a very large one is measured instead.
        warn_outside(low, high, size, path, name, findings)
        rows, columns = np.ogrid[:height, :width]
        return BoxMask.cropped(np.hypot(columns - x, rows - y) <= radius)
    right, bottom = high.astype(int).tolist()
    end = max(1, min(width, right + 2)), max(1, min(height, bottom + 2))
    canvas = Image.new("L", end)
    ImageDraw.Draw(canvas).ellipse([*low.tolist(), *high.tolist()], outline=1, fill=1)
    return BoxMask.from_canvas(canvas)


def _corners(points: Points) -> Points:
    """The four corners of a rectangle, given by two opposite ones."""
    left, top = points.min(0)
    right, bottom = points.max(0)
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def _bitmap(
    shape: ShapeRow, points: Points, size: tuple[int, int], path: Path, name: str
) -> BoxMask:
    """A shape that labelme stores as a PNG in base64, with its top left corner."""
    height, width = size
    try:
        image = Image.open(io.BytesIO(base64.b64decode(shape.mask or "", validate=True)))
        if image.width > width or image.height > height:
            raise ValueError(f"it has {image.width} x {image.height} pixels, more than the image")
        bitmap = np.asarray(image) > 0
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        struct.error,
        zlib.error,
        Image.DecompressionBombError,
    ) as error:
        raise ValueError(
            f"{path}: expected {name} with a mask, but it does not decode ({error}) - draw it again"
        ) from error
    if bitmap.ndim != 2:
        raise ValueError(
            f"{path}: expected {name} with a mask of one channel, but it has {image.mode} - "
            "draw it again"
        )
    left, top = points.min(0).astype(int).tolist()
    bottom = top + bitmap.shape[0]
    right = left + bitmap.shape[1]
    if left < 0 or top < 0 or bottom > height or right > width:
        raise ValueError(
            f"{path}: expected {name} inside the image, but its mask extends beyond it - "
            "draw it again"
        )
    return BoxMask.cropped(bitmap, x=left, y=top)
