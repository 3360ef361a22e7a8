"""A network outside of torch, as post-processing and inference use it: NumPy arrays in and out."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from maskmill.postprocess.prediction import Images, Outputs

MAX_UINT8 = 256  # classes that fit uint8


class ArrayNetwork(ABC):
    """Images to outputs; class logits are reduced here, unless the network has done it.

    Args:
        gives_logits: of classes; they can be averaged.
        temperature: of the calibration, see `reduce_arrays`.
    """

    def __init__(self, *, gives_logits: bool, temperature: float = 1.0) -> None:
        self.gives_logits = gives_logits
        self.temperature = temperature

    def __call__(self, images: Images) -> Outputs:
        """The outputs that post-processing reads.

        Args:
            images: (B, 3, H, W) uint8 of any size.

        Returns:
            `classes` (B, H, W) and `confidence` (B, H, W) float32 in place of class logits; the
            other outputs in float32.
        """
        return self.reduce(self.maps(images))

    @abstractmethod
    def maps(self, images: Images) -> Outputs:
        """The outputs as the network gives them, with logits where `gives_logits`."""

    def reduce(self, maps: Outputs) -> Outputs:
        """Classes and confidence in place of logits, see `reduce_arrays`."""
        return reduce_arrays(maps, self.temperature)


class MeanOfViews(ArrayNetwork):
    """A network whose outputs are means over views of the images.

    Args:
        network: with logits.
        average: from a function that gives outputs to one that gives their means.
    """

    def __init__(
        self,
        network: ArrayNetwork,
        average: Callable[[Callable[[Images], Outputs]], Callable[[Images], Outputs]],
    ) -> None:
        super().__init__(gives_logits=True, temperature=network.temperature)
        self._mean = average(network.maps)

    def maps(self, images: Images) -> Outputs:
        """The means."""
        return self._mean(images)


def reduce_arrays(outputs: Outputs, temperature: float = 1.0) -> dict[str, npt.NDArray[Any]]:
    """The most likely class of each pixel and its probability, as `reduce_logits` in torch.

    Args:
        outputs: of a network. `semantic` is (B, K, H, W) logits.
        temperature: divides the logits before the softmax; the classes do not depend on it.

    Returns:
        `classes` (B, H, W), uint8 for up to 256 classes and int16 for more, and `confidence`
        (B, H, W) float32 in place of `semantic`; the other outputs as they are.

    Example:
        >>> logits = np.array([0.0, 1.0, 0.0], np.float32).reshape(1, 3, 1, 1)
        >>> reduced = reduce_arrays({"semantic": logits})
        >>> reduced["classes"].item(), round(reduced["confidence"].item(), 4)
        (1, 0.5761)
    """
    if "semantic" not in outputs:
        return dict(outputs)
    logits = outputs["semantic"]
    classes = logits.argmax(axis=1)  # (B, H, W)
    difference = logits - logits.max(axis=1, keepdims=True)  # (B, K, H, W)
    if temperature != 1:
        difference /= np.float32(temperature)
    total = np.exp(difference, out=difference).sum(axis=1)  # (B, H, W)
    integer = np.uint8 if logits.shape[1] <= MAX_UINT8 else np.int16
    reduced = {"classes": classes.astype(integer), "confidence": 1 / total}
    return reduced | {name: value for name, value in outputs.items() if name != "semantic"}
