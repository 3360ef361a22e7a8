"""Images through the network as they are."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from maskmill.postprocess.prediction import Image, Network, Postprocess, Prediction
from maskmill.postprocess.views import Views


class WholeImage:
    """Each image at once.

    Args:
        views: flips and scales to average over; None is the image alone.
    """

    def __init__(self, views: Views | None = None) -> None:
        self.views = views

    def __call__(
        self, network: Network, postprocess: Postprocess, images: Iterable[Image], batch_size: int
    ) -> Iterator[Prediction]:
        """Predict; neighbours of one size share a batch, and none is padded for another's sake, so no prediction depends on others."""
        network = network if self.views is None else self.views(network)
        for batch in _in_batches(images, batch_size):
            yield from postprocess(
                network(stack(batch)), [(image.shape[0], image.shape[1]) for image in batch]
            )


def stack(images: list[Image]) -> Tensor:
    """Images (H, W, 3) of one size to a batch (B, 3, H, W) uint8."""
    return torch.from_numpy(np.stack([image.transpose(2, 0, 1) for image in images]))


def _in_batches(images: Iterable[Image], batch_size: int) -> Iterator[list[Image]]:
    """Neighbours of one size in lists of at most `batch_size`."""
    batch: list[Image] = []
    for image in images:
        if batch and (len(batch) == batch_size or batch[0].shape != image.shape):
            yield batch
            batch = []
        batch.append(image)
    if batch:
        yield batch
