"""Images in, predictions out: shared by `predict`, the registered model and users' scripts."""

from collections.abc import Iterable, Iterator

from maskmill.canonical.png import RGB
from maskmill.postprocess.prediction import Inference, Network, Postprocess, Prediction
from maskmill.postprocess.whole_image import WholeImage


class Predictor:
    """A network and its postprocessing.

    Args:
        network: images (B, 3, H, W) uint8 of any size to outputs, in any runtime, as
            `TorchNetwork`.
        postprocess: outputs to predictions.
        inference: how images pass through the network; None: whole.
    """

    def __init__(
        self, network: Network, postprocess: Postprocess, *, inference: Inference | None = None
    ) -> None:
        self.network = network
        self.postprocess = postprocess
        self.inference = inference or WholeImage()

    def __call__(self, images: Iterable[RGB], *, batch_size: int = 1) -> Iterator[Prediction]:
        """Predict images, in order.

        Args:
            images: (H, W, 3) uint8 RGB, of any sizes.
            batch_size: images in memory, or windows of one image per forward pass. Among these
                images, those of one size share a forward pass.

        Yields:
            the prediction of each image at its size.
        """
        yield from self.inference(self.network, self.postprocess, images, batch_size)
