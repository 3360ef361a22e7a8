"""Large-scale jitter, which albumentations lacks.

At any scale, only the visible window is resized, and only once.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import albumentations
import cv2
import numpy as np
import numpy.typing as npt
from albumentations.core.type_definitions import Targets
from annotated_types import Ge, Gt, Le

from maskmill.canonical.panoptic import VOID_ID
from maskmill.canonical.runs import run_starts

Pixels = npt.NDArray[Any]
Side = Annotated[int, Ge(1)]  # px
Factor = Annotated[float, Gt(0)]
Share = Annotated[float, Ge(0), Le(1)]


@dataclass(frozen=True)
class Span:
    """Along one axis in px: the source window, its resized length, its start in the result."""

    window: slice
    length: int
    start: int

    @property
    def in_result(self) -> slice:
        """The part of the result that the window covers."""
        return slice(self.start, self.start + self.length)


@dataclass(frozen=True)
class Placement:
    """Which window of the source is resized, and where it is in the result."""

    rows: Span
    columns: Span


class ScaleJitter(albumentations.DualTransform):
    """Scale the image by a random factor, then crop or pad it at a random position to one size.

    At a scale of 1, the whole image just fits into the result, or, with `fit=False`, keeps its own
    size. Padding is black and void. Ghiasi et al., CVPR 2021 (arXiv:2012.07177), sec. 3.

    Args:
        size: height and width of the result in px.
        scale: smallest and largest factor; 0.1 and 2.0 in the paper.
        fit: False for images of several sizes that show objects at one size.
        segment_share: the share of windows that are placed over a segment: one is drawn, each
            segment of the image with the same chance, and the window contains a random pixel of
            it. Small objects and rare classes are then seen more often. nnU-Net (Isensee et al.,
            Nature Methods 2021) does this with a third of its patches.
        p: probability of being applied; batches of one size need 1.

    Raises:
        ValueError: a value is out of range, or the first factor of `scale` is larger than the
            second.
    """

    _targets = (Targets.IMAGE, Targets.MASK)

    # albumentations hides the annotations of __init__ and checks arguments by this class instead.
    class InitSchema(albumentations.DualTransform.InitSchema):
        """The arguments and their bounds."""

        size: tuple[Side, Side]
        scale: tuple[Factor, Factor]
        fit: bool
        segment_share: Share

    def __init__(
        self,
        size: tuple[int, int],
        scale: tuple[float, float] = (0.1, 2.0),
        fit: bool = True,
        segment_share: float = 0.0,
        p: float = 1.0,
    ) -> None:
        super().__init__(p=p)
        if scale[0] > scale[1]:
            raise ValueError(
                "Expected `scale` to be the smallest and the largest factor, "
                f"but got {tuple(scale)} - swap them"
            )
        self.size = tuple(size)
        self.scale = tuple(scale)
        self.fit = fit
        self.segment_share = segment_share

    def get_params_dependent_on_data(
        self, params: Mapping[str, Any], data: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Draw the scale and the position for an image of `params["shape"]` and its ids."""
        height, width = params["shape"][:2]
        new_height, new_width = self.size
        row, column = None, None
        if self.segment_share and self.py_random.random() < self.segment_share:
            row, column = self._pixel_of_a_segment(data["mask"])
        factor = self.py_random.uniform(*self.scale)
        if self.fit:
            factor *= min(new_height / height, new_width / width)
        rows = self._span(height, new_height, factor, row)
        columns = self._span(width, new_width, factor, column)
        return {"placement": Placement(rows, columns)}

    def _pixel_of_a_segment(self, ids: Pixels) -> tuple[int, int] | tuple[None, None]:
        """Row and column; without segments, None."""
        id_of_run = ids.reshape(-1)[run_starts(ids)]  # far fewer than pixels
        present = np.unique(id_of_run[id_of_run != VOID_ID])
        if not len(present):
            return None, None
        positions = np.flatnonzero(ids == self.py_random.choice(present))
        return divmod(int(self.py_random.choice(positions)), ids.shape[1])

    def _span(self, length: int, new_length: int, factor: float, shown: int | None) -> Span:
        """Draw the position along one axis, with the pixel `shown` in the window."""
        scaled_length = max(1, round(length * factor))
        if scaled_length <= new_length:
            start = self.py_random.randint(0, new_length - scaled_length)
            return Span(slice(0, length), scaled_length, start)
        lowest, highest = 0, scaled_length - new_length
        if shown is not None:
            lowest = min(max(lowest, math.ceil((shown + 1) * factor) - new_length), highest)
            highest = max(min(highest, int(shown * factor)), lowest)
        begin = self.py_random.randint(lowest, highest) / factor
        first = min(int(begin), length - 1)
        end = max(first + 1, min(length, round(begin + new_length / factor)))
        return Span(slice(first, end), new_length, 0)

    def apply(self, img: Pixels, placement: Placement, **params: Any) -> Pixels:
        """The image, averaged when it shrinks and interpolated when it grows."""
        window = placement.rows.window
        is_smaller = placement.rows.length < window.stop - window.start
        return _placed(
            img, placement, self.size, cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR
        )

    def apply_to_mask(self, mask: Pixels, placement: Placement, **params: Any) -> Pixels:
        """The ids, never interpolated, and 0 in the padding."""
        return _placed(mask, placement, self.size, cv2.INTER_NEAREST_EXACT)


def _placed(
    pixels: Pixels, placement: Placement, size: tuple[int, ...], interpolation: int
) -> Pixels:
    rows = placement.rows
    columns = placement.columns
    window = np.ascontiguousarray(pixels[rows.window, columns.window])
    resized = cv2.resize(window, (columns.length, rows.length), interpolation=interpolation)
    result = np.zeros((*size, *pixels.shape[2:]), pixels.dtype)
    result[rows.in_result, columns.in_result] = resized
    return result
