"""Images in, label maps out: the same path for evaluation, the registered model and anyone's script."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from maskmill.canonical.png import RGB
from maskmill.postprocess.prediction import Inference, Network, Outputs, Postprocess, Prediction
from maskmill.postprocess.whole_image import WholeImage


class Predictor:
    """A network and what makes segments of its outputs.

    Args:
        network: images (B, 3, H, W) uint8 to outputs at that size; a module in evaluation mode or an exported program.
        postprocess: outputs to predictions.
        inference: how images go through the network; None is each as it is.
        device: where the network is.
    """

    def __init__(
        self,
        network: Network,
        postprocess: Postprocess,
        *,
        inference: Inference | None = None,
        device: str = "cpu",
    ) -> None:
        self.network, self.postprocess, self.device = network, postprocess, torch.device(device)
        self.inference = inference or WholeImage()

    @torch.inference_mode()
    def __call__(self, images: Iterable[RGB], *, batch_size: int = 1) -> Iterator[Prediction]:
        """Predict images one by one, in order.

        Args:
            images: (H, W, 3) uint8 RGB, of any sizes.
            batch_size: images, or windows of one, per pass.

        Yields:
            the prediction of each image at its size.
        """
        yield from self.inference(self._run, self.postprocess, images, batch_size)

    def _run(self, images: Tensor) -> Outputs:
        return self.network(images.to(self.device))
