"""Images in, label maps out: the same path for evaluation, the registered model and anyone's script."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from maskmill.canonical.png import RGB
from maskmill.postprocess.prediction import Prediction
from maskmill.serving.model_files import Postprocess

Network = Callable[[Tensor], dict[str, Tensor]]


class Predictor:
    """A network and what makes segments of its outputs.

    Args:
        network: images (B, 3, H, W) uint8 to outputs at that size; a module in evaluation mode or an exported program.
        postprocess: outputs to predictions.
        device: where the network is.
    """

    def __init__(self, network: Network, postprocess: Postprocess, *, device: str = "cpu") -> None:
        self.network, self.postprocess, self.device = network, postprocess, torch.device(device)

    @torch.inference_mode()
    def __call__(self, images: Iterable[RGB], *, batch_size: int = 1) -> Iterator[Prediction]:
        """Predict images one by one, in order.

        Neighbours of one size share a batch; none is padded for another's sake, so no prediction depends on its neighbours.

        Args:
            images: (H, W, 3) uint8 RGB, of any sizes.
            batch_size: images per pass.

        Yields:
            the prediction of each image at its size.
        """
        for batch in _in_batches(images, batch_size):
            stacked = torch.from_numpy(np.stack(batch).transpose(0, 3, 1, 2).copy()).to(self.device)  # (B, 3, H, W)
            sizes = [(image.shape[0], image.shape[1]) for image in batch]
            yield from self.postprocess(self.network(stacked), sizes)


def _in_batches(images: Iterable[RGB], batch_size: int) -> Iterator[list[RGB]]:
    """Neighbours of one size in lists of at most `batch_size`."""
    batch: list[RGB] = []
    for image in images:
        if batch and (len(batch) == batch_size or batch[0].shape != image.shape):
            yield batch
            batch = []
        batch.append(image)
    if batch:
        yield batch
