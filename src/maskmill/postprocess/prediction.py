"""What the network says of one image, in the data set's own ids, and who asks it how."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from maskmill.canonical.panoptic import Panoptic

if TYPE_CHECKING:
    from maskmill.postprocess.semantic import ClassTable

Image = npt.NDArray[np.uint8]  # (H, W, 3) RGB
Outputs = Mapping[str, Tensor]
Network = Callable[[Tensor], Outputs]  # images (B, 3, H, W) uint8 to maps (B, ?, H, W)


@dataclass(frozen=True, eq=False)
class Prediction:
    """A class for every pixel, and segments.

    Args:
        semantic: (H, W) int32 category ids; -1 is background, which only data sets without stuff have.
        panoptic: the segments, each with a score; pixels no segment claims are void.
    """

    semantic: npt.NDArray[np.int32]
    panoptic: Panoptic


class Postprocess(Protocol):
    """What makes segments of a network's outputs."""

    table: "ClassTable"

    def __call__(self, outputs: Outputs, sizes: Sequence[tuple[int, int]]) -> list[Prediction]:
        """Predictions from the outputs for a batch and the sizes of the images within it."""


class Inference(Protocol):
    """How images go through the network: whole, in windows, in several views."""

    def __call__(
        self, network: Network, postprocess: Postprocess, images: Iterable[Image], batch_size: int
    ) -> Iterator[Prediction]:
        """The prediction of each image at its own size, in order."""
