"""The prediction for one image, and the interfaces of post-processing and inference."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from maskmill.canonical.panoptic import Panoptic

if TYPE_CHECKING:
    from maskmill.postprocess.semantic import ClassTable

Image = npt.NDArray[np.uint8]  # (H, W, 3) RGB
Images = npt.NDArray[np.uint8]  # (B, 3, H, W) RGB of one size
Size = tuple[int, int]  # height and width in px
Outputs = Mapping[str, npt.NDArray[Any]]  # maskmill.postprocess.outputs lists the keys
Network = Callable[[Images], Outputs]  # in any runtime, at any size


@dataclass(frozen=True, eq=False)
class Prediction:
    """A category for every pixel, and segments, with the category ids of the data set.

    Args:
        semantic: (H, W) int32 category ids; -1 is background, which only data sets without stuff
            have.
        panoptic: the segments with their scores; pixels outside all segments are void.
        confidence: (H, W) float32, the probability of each pixel's category; None if not kept.
    """

    semantic: npt.NDArray[np.int32]
    panoptic: Panoptic
    confidence: npt.NDArray[np.float32] | None = None


class Postprocess(Protocol):
    """Makes predictions from network outputs."""

    table: "ClassTable"

    def __call__(self, outputs: Any, sizes: Sequence[Size]) -> list[Prediction]:
        """One prediction per image.

        Args:
            outputs: for a batch; a TypedDict of maskmill.postprocess.outputs.
            sizes: of the images, which may be padded at the right and bottom.
        """


class Inference(Protocol):
    """How images pass through the network: whole, in windows, or in several views."""

    @property
    def averages_logits(self) -> bool:
        """Does it need the logits of the network, not its classes alone?"""

    @property
    def needs_torch(self) -> bool:
        """Does it compute in torch itself?"""

    def __call__(
        self, network: Network, postprocess: Postprocess, images: Iterable[Image], batch_size: int
    ) -> Iterator[Prediction]:
        """The prediction for each image at its own size, in order."""
