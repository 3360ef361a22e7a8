"""The pixels of an object inside its box, so that small objects in a large image stay small."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from PIL import Image

from maskmill.canonical.rle import Ints

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class BoxMask:
    """An object of an image.

    Args:
        x: the first column of its box.
        y: the first row of its box.
        pixels: (h, w) bool, the box; (0, 0) without any pixel.

    Example:
        >>> BoxMask.cropped(np.eye(4, dtype=bool)[:, 2:]).pixels.astype(int).tolist()
        [[1, 0], [0, 1]]
    """

    x: int
    y: int
    pixels: Mask

    @cached_property
    def area(self) -> int:
        """The number of pixels."""
        return int(np.count_nonzero(self.pixels))

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom; the last two are exclusive."""
        height, width = self.pixels.shape
        return self.x, self.y, self.x + width, self.y + height

    @property
    def window(self) -> tuple[slice, slice]:
        """The rows and columns of the box in the image."""
        left, top, right, bottom = self.box
        return slice(top, bottom), slice(left, right)

    def num_shared(self, other: "BoxMask") -> int:
        """The number of pixels that two objects of one image have in common."""
        left = max(self.x, other.x)
        top = max(self.y, other.y)
        right = min(self.box[2], other.box[2])
        bottom = min(self.box[3], other.box[3])
        if left >= right or top >= bottom:
            return 0
        own = self.pixels[top - self.y : bottom - self.y, left - self.x : right - self.x]
        others = other.pixels[top - other.y : bottom - other.y, left - other.x : right - other.x]
        return int(np.count_nonzero(own & others))

    @classmethod
    def cropped(cls, mask: Mask, *, x: int = 0, y: int = 0) -> "BoxMask":
        """The object of a mask (H, W) bool that begins at column `x` and row `y` of the image."""
        rows = np.flatnonzero(mask.any(1))
        if not rows.size:
            return cls(0, 0, np.zeros((0, 0), bool))
        columns = np.flatnonzero(mask.any(0))
        top = int(rows[0])
        left = int(columns[0])
        pixels = mask[top : rows[-1] + 1, left : columns[-1] + 1].copy()
        return cls(x + left, y + top, pixels)

    @classmethod
    def from_canvas(cls, canvas: Image.Image) -> "BoxMask":
        """The object of a gray image that begins with the image and is 0 elsewhere."""
        box = canvas.getbbox()
        if box is None:
            return cls(0, 0, np.zeros((0, 0), bool))
        return cls(box[0], box[1], np.asarray(canvas.crop(box)) > 0)

    @classmethod
    def from_runs(cls, runs: Ints, height: int) -> "BoxMask":
        """The object of a run-length code.

        Args:
            runs: (R,) from `canonical.rle.rle_runs`.
            height: of the image.
        """
        ends = runs.cumsum()
        inside = np.flatnonzero(runs[1::2]) * 2 + 1
        if not inside.size:
            return cls(0, 0, np.zeros((0, 0), bool))
        first = ends[inside[0] - 1] // height  # the first and the last column with a pixel
        last = (ends[inside[-1]] - 1) // height
        ends = ends.clip(first * height, (last + 1) * height)
        lengths = np.diff(ends, prepend=first * height)
        flat = np.repeat(np.arange(runs.size) % 2 == 1, lengths)
        return cls.cropped(flat.reshape(-1, height).T, x=int(first))
