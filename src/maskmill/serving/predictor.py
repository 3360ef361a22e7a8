"""Images in, predictions out: shared by `predict`, the registered model and users' scripts."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from maskmill.canonical.png import RGB
from maskmill.postprocess.prediction import Inference, Network, Outputs, Postprocess, Prediction
from maskmill.postprocess.whole_image import WholeImage


class Predictor:
    """A network and its postprocessing.

    Args:
        network: images (B, 3, H, W) uint8 to outputs of that size; a module in evaluation mode or
            an exported program.
        postprocess: outputs to predictions.
        inference: how images pass through the network; None: whole.
        device: the device of the network.
    """

    def __init__(
        self,
        network: Network,
        postprocess: Postprocess,
        *,
        inference: Inference | None = None,
        device: str = "cpu",
    ) -> None:
        self.network = network
        self.postprocess = postprocess
        self.inference = inference or WholeImage()
        self.device = torch.device(device)

    @torch.inference_mode()
    def __call__(self, images: Iterable[RGB], *, batch_size: int = 1) -> Iterator[Prediction]:
        """Predict images one by one, in order.

        Args:
            images: (H, W, 3) uint8 RGB, of any sizes.
            batch_size: images of one size, or windows of one image, per forward pass.

        Yields:
            the prediction of each image at its size.
        """
        yield from self.inference(self._forward, self.postprocess, images, batch_size)

    def _forward(self, images: Tensor) -> Outputs:
        return self.network(images.to(self.device))
