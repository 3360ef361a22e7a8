"""Windows that cover an image, and how much each says of its pixels."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

ALIGN_PX = 32  # windows begin at multiples of the coarsest stride, so that a network samples a window as it would the whole image
SIGMA = 1 / 8  # deviation of the Gaussian as a share of the window, as in nnU-Net


@dataclass(frozen=True)
class Span:
    """A window along one axis: its pixels are begin..end - 1; `first` and `last` tell that the image ends there too."""

    begin: int
    end: int
    first: bool
    last: bool

    @property
    def slice(self) -> slice:
        """For indexing."""
        return slice(self.begin, self.end)


@dataclass(frozen=True)
class Tiling:
    """How an image is cut.

    Args:
        window: height and width in px.
        overlap: share of the window that the next one sees again, at least; 0.5 in nnU-Net.
        margin: px at an inner edge of a window that say nothing, since they lack what lies beyond. With a margin of at least the reach of
            the network's receptive field, windows give exactly what the whole image gives.

    Raises:
        ValueError: a number is out of range, or the margins leave pixels that no window speaks for.
    """

    window: tuple[int, int]
    overlap: float = 0.5
    margin: int = 0

    def __post_init__(self) -> None:
        if min(self.window) < ALIGN_PX or not 0 <= self.overlap < 1 or self.margin < 0:
            raise ValueError(
                f"Expected sides of `window` from {ALIGN_PX} px, `overlap` in [0, 1) and `margin` of at least 0, "
                f"but got {tuple(self.window)}, {self.overlap} and {self.margin} - mend conf/inference"
            )
        seen_twice = min(length - self._step(length) for length in self.window)
        if 2 * self.margin >= max(seen_twice, 1):
            raise ValueError(
                f"Expected `margin` below half of what neighbours share, which is {seen_twice} px, but got {self.margin} - "
                "raise `overlap` or lower `margin`"
            )

    def spans(self, axis: int, length: int) -> list[Span]:
        """The windows along an axis (0 is y) of an image of this length in px; the last one ends with the image and may be shorter."""
        window, step = self.window[axis], self._step(self.window[axis])
        begins = range(0, max(length - window, 0) + step, step) if length > window else [0]
        begins = [
            begin for begin in begins if begin == 0 or begin - step + window < length
        ]  # not where the one before saw the end
        return [
            Span(begin, min(begin + window, length), begin == 0, begin + window >= length)
            for begin in begins
        ]

    def importance(self, axis: int, span: Span) -> Tensor:
        """How much a window says at each pixel along an axis, (L,) float32: a Gaussian of at most 1; 0 in the margin of inner edges."""
        window = self.window[axis]
        place = torch.arange(span.end - span.begin, dtype=torch.float64)
        weight = torch.exp(-0.5 * ((place - (window - 1) / 2) / (SIGMA * window)).square())
        inner = place >= (0 if span.first else self.margin)
        inner &= place < len(place) - (0 if span.last else self.margin)
        return (weight * inner).float()

    def _step(self, window: int) -> int:
        """From one window to the next, in px."""
        return max(ALIGN_PX, math.floor(window * (1 - self.overlap) / ALIGN_PX) * ALIGN_PX)
