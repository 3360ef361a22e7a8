"""Inference on whole images."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from maskmill.postprocess.prediction import Image, Images, Network, Postprocess, Prediction, Size


class WholeImage:
    """Passes each image through the network as a whole.

    Args:
        views: `Views`: flips and scales to average over; None uses the image alone.
    """

    def __init__(self, views: Callable[..., Any] | None = None) -> None:
        self.views = views
        self.averages_logits = views is not None
        self.needs_torch = bool(getattr(views, "needs_torch", False))

    def __call__(
        self, network: Network, postprocess: Postprocess, images: Iterable[Image], batch_size: int
    ) -> Iterator[Prediction]:
        """The prediction for each image, with at most `batch_size` images in memory.

        Among these, images of the same size share a batch of the network. No image is padded to
        the size of another, so that no prediction depends on other images.
        """
        if self.views is not None:
            network = self.views(network)
        remaining = iter(images)
        while group := list(islice(remaining, batch_size)):
            predictions: dict[int, Prediction] = {}
            for size, indices in _by_size(group).items():
                outputs = network(stack([group[index] for index in indices]))
                predictions |= zip(
                    indices, postprocess(outputs, [size] * len(indices)), strict=True
                )
            for index in range(len(group)):
                yield predictions.pop(index)


def stack(images: list[Image]) -> Images:
    """A batch (B, 3, H, W) uint8 of images (H, W, 3) of the same size."""
    return np.stack([image.transpose(2, 0, 1) for image in images])


def _by_size(images: list[Image]) -> dict[Size, list[int]]:
    """The indices of the images of each size."""
    indices: dict[Size, list[int]] = {}
    for index, image in enumerate(images):
        height, width = image.shape[:2]
        indices.setdefault((height, width), []).append(index)
    return indices
