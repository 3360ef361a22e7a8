"""Large-scale jitter, which albumentations lacks: one resize of the window that is seen, whatever the scale."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import albumentations
import cv2
import numpy as np
import numpy.typing as npt
from albumentations.core.type_definitions import Targets

Pixels = npt.NDArray[Any]


@dataclass(frozen=True)
class Placement:
    """A window of the source, y0:y1 and x0:x1, resized to `size` (h, w) and put at `top`, `left` of the result."""

    y0: int
    y1: int
    x0: int
    x1: int
    size: tuple[int, int]
    top: int
    left: int


class ScaleJitter(albumentations.DualTransform):
    """Scale the image at random, then crop or pad it, at a random place, to one size (Ghiasi et al., CVPR 2021, arXiv:2012.07177, sec. 3).

    At a scale of 1 the image just fits into the result. What it does not cover becomes black and void.

    Args:
        size: height and width of the result in px.
        scale: smallest and largest; 0.1 and 2.0 in the paper.
        p: probability of being applied, which for batches of one size must be 1.

    Raises:
        ValueError: a number is out of range.
    """

    _targets = (Targets.IMAGE, Targets.MASK)

    class InitSchema(
        albumentations.DualTransform.InitSchema
    ):  # albumentations checks its arguments by such a class; ours are checked below
        """The arguments by name."""

        size: tuple[int, int]
        scale: tuple[float, float]

    def __init__(
        self, size: tuple[int, int], scale: tuple[float, float] = (0.1, 2.0), p: float = 1.0
    ) -> None:
        super().__init__(p=p)
        if min(size) < 1 or not 0 < scale[0] <= scale[1]:
            raise ValueError(
                f"Expected sides of `size` from 1 px and `scale` as two rising factors above 0, but got {tuple(size)} and {tuple(scale)} - "
                "mend conf/augment"
            )
        self.size, self.scale = tuple(size), tuple(scale)

    def get_params_dependent_on_data(
        self, params: Mapping[str, Any], data: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Draw scale and place for an image of `params["shape"]`."""
        source = params["shape"][:2]
        factor = self.py_random.uniform(*self.scale) * min(
            self.size[0] / source[0], self.size[1] / source[1]
        )
        (y0, y1, height, top), (x0, x1, width, left) = (
            self._along(source[axis], self.size[axis], factor) for axis in (0, 1)
        )
        return {"placement": Placement(y0, y1, x0, x1, (height, width), top, left)}

    def _along(self, length: int, wanted: int, factor: float) -> tuple[int, int, int, int]:
        """Along one axis: the source's window, its length in the result, and where it begins there."""
        scaled = max(1, round(length * factor))
        if scaled <= wanted:
            return 0, length, scaled, self.py_random.randint(0, wanted - scaled)
        begin = self.py_random.randint(0, scaled - wanted) / factor
        first = min(int(begin), length - 1)
        return first, max(first + 1, min(length, round(begin + wanted / factor))), wanted, 0

    def apply(self, img: Pixels, placement: Placement, **params: Any) -> Pixels:
        """The image; smaller it is averaged, larger interpolated."""
        shrinks = placement.size[0] < placement.y1 - placement.y0
        return _placed(img, placement, self.size, cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)

    def apply_to_mask(self, mask: Pixels, placement: Placement, **params: Any) -> Pixels:
        """The ids, never averaged; 0 where nothing is."""
        return _placed(mask, placement, self.size, cv2.INTER_NEAREST_EXACT)


def _placed(
    pixels: Pixels, placement: Placement, size: tuple[int, ...], interpolation: int
) -> Pixels:
    window = np.ascontiguousarray(pixels[placement.y0 : placement.y1, placement.x0 : placement.x1])
    height, width = placement.size
    resized = cv2.resize(window, (width, height), interpolation=interpolation)
    result = np.zeros((*size, *pixels.shape[2:]), pixels.dtype)
    result[placement.top : placement.top + height, placement.left : placement.left + width] = (
        resized
    )
    return result
