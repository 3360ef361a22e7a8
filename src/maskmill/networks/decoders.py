"""Semantic networks: an encoder, one of segmentation_models_pytorch's decoders, a class score per pixel."""

from collections.abc import Callable

from torch import Tensor, nn

from maskmill.networks.encoders import TimmEncoder
from maskmill.networks.padding import Outputs, at_any_size


class EncoderDecoder(nn.Module):
    """Class logits at the size of the input, for images of any size.

    Args:
        encoder: the backbone.
        decoder: a segmentation_models_pytorch architecture with its own settings, as a partial.
        num_classes: K, channels of the result.

    Raises:
        ValueError: `num_classes` is not positive, or the decoder makes something without an encoder.
    """

    def __init__(self, encoder: TimmEncoder, decoder: Callable[..., nn.Module], *, num_classes: int) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"Expected `num_classes` of at least 1, but got {num_classes} - pass categories.num_outputs")
        self.normalise = encoder.normalisation()
        hub = "imagenet" if encoder.pretrained else None
        self.model = decoder(encoder_name=encoder.smp_name, encoder_weights=hub, in_channels=3, classes=num_classes)
        backbone = getattr(self.model, "encoder", None)
        if not isinstance(backbone, nn.Module):
            raise ValueError(
                f"Expected `decoder` to be of segmentation_models_pytorch, but got a {type(self.model).__name__} - mend conf/network"
            )
        encoder.load_into(backbone)
        self.stride = 32  # of the coarsest feature map any smp architecture builds with the default depth

    def forward(self, images: Tensor) -> Outputs:
        """Images (B, 3, H, W), 0..255, to `semantic` logits (B, K, H, W)."""
        return at_any_size(self.body, images, self.stride)

    def body(self, images: Tensor) -> Outputs:
        """The same for H and W that are multiples of `stride`; this is what gets exported."""
        return {"semantic": self.model(self.normalise(images))}
