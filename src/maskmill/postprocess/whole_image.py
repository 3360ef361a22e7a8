"""Inference on whole images."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from maskmill.postprocess.prediction import Image, Network, Postprocess, Prediction
from maskmill.postprocess.views import Views


class WholeImage:
    """Passes each image through the network as a whole.

    Args:
        views: flips and scales to average over; None uses the image alone.
    """

    def __init__(self, views: Views | None = None) -> None:
        self.views = views

    def __call__(
        self, network: Network, postprocess: Postprocess, images: Iterable[Image], batch_size: int
    ) -> Iterator[Prediction]:
        """The prediction for each image.

        Consecutive images of the same size share a batch. No image is padded to the size of
        another, so that no prediction depends on other images.
        """
        if self.views is not None:
            network = self.views(network)
        for batch in _batches(images, batch_size):
            height, width = batch[0].shape[:2]
            yield from postprocess(network(stack(batch)), [(height, width)] * len(batch))


def stack(images: list[Image]) -> Tensor:
    """A batch (B, 3, H, W) uint8 of images (H, W, 3) of the same size."""
    channels_first = [image.transpose(2, 0, 1) for image in images]
    return torch.from_numpy(np.stack(channels_first))


def _batches(images: Iterable[Image], batch_size: int) -> Iterator[list[Image]]:
    """Lists of at most `batch_size` consecutive images of the same size."""
    batch: list[Image] = []
    for image in images:
        if batch and (len(batch) == batch_size or batch[0].shape != image.shape):
            yield batch
            batch = []
        batch.append(image)
    if batch:
        yield batch
