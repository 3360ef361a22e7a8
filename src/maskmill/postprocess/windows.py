"""Windows that cover an image, and the weight of each window at its pixels."""

import math
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Interval

# Windows start at multiples of the largest stride, so that a network samples a window at the same
# pixels as the whole image.
ALIGN_PX = 32
SIGMA = 1 / 8  # standard deviation of the Gaussian as a share of the window, as in nnU-Net

SidePx = Annotated[int, Ge(ALIGN_PX)]
WindowSize = tuple[SidePx, SidePx]  # height and width
Overlap = Annotated[float, Interval(ge=0, lt=1)]


@dataclass(frozen=True)
class Span:
    """A window along one axis.

    Args:
        start: first pixel.
        stop: the pixel after the last.
        is_first: the window starts at the edge of the image.
        is_last: the window ends at the edge of the image.
    """

    start: int
    stop: int
    is_first: bool
    is_last: bool

    @property
    def length(self) -> int:
        """In px."""
        return self.stop - self.start

    @property
    def slice(self) -> slice:
        """For indexing."""
        return slice(self.start, self.stop)


@dataclass(frozen=True)
class Tiling:
    """How an image is split into windows.

    Args:
        window: height and width in px; None: not known yet, see `with_window`.
        overlap: minimum share of a window that the next window covers too; 0.5 in nnU-Net.
        margin: px at an inner edge of a window that are ignored, because the window does not
            contain what surrounds them. With a margin of at least the reach of the network's
            receptive field, windows give exactly the outputs of the whole image.

    Raises:
        ValueError: the margins are so wide that some pixels are in no window; or, at the first
            image, the windows still have no size.

    Example:
        >>> [(span.start, span.stop) for span in Tiling((64, 64)).spans(0, 150)]
        [(0, 64), (32, 96), (64, 128), (96, 150)]
    """

    window: WindowSize | None
    overlap: Overlap = 0.5
    margin: Annotated[int, Ge(0)] = 0

    def __post_init__(self) -> None:
        if self.window is None:
            return
        shared_px = min(length - self._step(length) for length in self.window)
        if 2 * self.margin >= max(shared_px, 1):
            raise ValueError(
                f"Expected `margin` below half of the {shared_px} px that neighbours share in "
                f"windows of {self.window[0]} x {self.window[1]} px, but got {self.margin} - "
                "either raise `overlap`, lower `margin` or set larger windows, as "
                "inference.window=[512,512]"
            )

    def with_window(self, size: tuple[int, int]) -> "Tiling":
        """The same with windows of a size, at least `ALIGN_PX` wide and high; in px."""
        height, width = size
        return replace(self, window=(max(height, ALIGN_PX), max(width, ALIGN_PX)))

    def spans(self, axis: int, length: int) -> list[Span]:
        """The windows along an axis of an image; the last ends with the image and may be shorter.

        Args:
            axis: 0 for y, 1 for x.
            length: of the image along this axis, in px.
        """
        window = self._side(axis)
        step = self._step(window)
        spans = []
        start = 0
        while True:
            stop = min(start + window, length)
            is_last = stop == length
            spans.append(Span(start, stop, is_first=start == 0, is_last=is_last))
            if is_last:
                return spans
            start += step

    def importance(self, axis: int, span: Span) -> npt.NDArray[np.float32]:
        """Weight of a window at each pixel along an axis, (length,) float32.

        A Gaussian of at most 1; 0 in the margins at inner edges.
        """
        window = self._side(axis)
        pixel = np.arange(span.length)
        distance = (pixel - (window - 1) / 2) / (SIGMA * window)
        weight = np.exp(-0.5 * np.square(distance))
        start = 0 if span.is_first else self.margin
        stop = span.length if span.is_last else span.length - self.margin
        is_inside = (pixel >= start) & (pixel < stop)
        importance: npt.NDArray[np.float32] = (weight * is_inside).astype(np.float32)
        return importance

    def _side(self, axis: int) -> int:
        if self.window is None:
            raise ValueError(
                "Expected `window`, the height and width of windows in px, but got None - set it, "
                "as inference.window=[512,512]"
            )
        return self.window[axis]

    def _step(self, window: int) -> int:
        """Distance from one window to the next, in px."""
        num_strides = math.floor(window * (1 - self.overlap) / ALIGN_PX)
        return max(ALIGN_PX, num_strides * ALIGN_PX)
