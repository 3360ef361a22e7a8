"""Semantic networks: an encoder, one of segmentation_models_pytorch's decoders, a class score per pixel."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from maskmill.networks.encoders import TimmEncoder
from maskmill.networks.padding import Outputs, at_any_size


class EncoderDecoder(nn.Module):
    """Class logits at the size of the input, for images of any size.

    Args:
        encoder: the backbone.
        decoder: a segmentation_models_pytorch architecture with its own settings, as a partial.
        stride: in px; images are padded to multiples of it and to at least two. A decoder that pools far down wants more than 32.
        auxiliary: in training also give class logits of the encoder's last but one feature, for a second loss that reaches the encoder
            directly (Zhao et al., PSPNet, arXiv:1612.01105, sec. 3.3).
        num_classes: K, channels of the result.

    Raises:
        ValueError: a number is not positive, the decoder makes something without an encoder, or encoder and decoder do not fit.
    """

    def __init__(
        self,
        encoder: TimmEncoder,
        decoder: Callable[..., nn.Module],
        *,
        stride: int = 32,
        auxiliary: bool = False,
        num_classes: int,
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(
                f"Expected `num_classes` of at least 1, but got {num_classes} - pass categories.num_outputs"
            )
        if stride < 1:
            raise ValueError(
                f"Expected `stride` of at least 1 px, but got {stride} - mend network.stride"
            )
        self.normalise, self.stride = encoder.normalisation(), stride
        settings, weights = encoder.settings(), True if encoder.loads else None
        with encoder.explained(
            f"the decoder {getattr(getattr(decoder, 'func', decoder), '__name__', decoder)}"
        ):
            self.model: Any = decoder(
                encoder_name=encoder.smp_name,
                encoder_weights=weights,
                in_channels=encoder.in_channels,
                classes=num_classes,
                **settings,
            )
        backbone = getattr(self.model, "encoder", None)
        if not isinstance(backbone, nn.Module):
            raise ValueError(
                f"Expected `decoder` to be of segmentation_models_pytorch, but got a {type(self.model).__name__} - mend conf/network"
            )
        if auxiliary and hasattr(
            backbone, "output_strides"
        ):  # smp's encoder of plain transformers, whose features are all of one stride
            raise ValueError(
                "Expected `auxiliary` of a network with a feature pyramid, but DPT has none - mend network.auxiliary"
            )
        encoder.prepare(backbone, stride=stride)
        channels: Sequence[int] = backbone.out_channels  # type: ignore[assignment] # of every encoder of smp
        self.auxiliary_head = _auxiliary_head(channels[-2], num_classes) if auxiliary else None

    def forward(self, images: Tensor) -> Outputs:
        """Images (B, C, H, W), 0..255, to `semantic` logits (B, K, H, W), in training perhaps `auxiliary` ones too."""
        return at_any_size(self.body, images, self.stride)

    def body(self, images: Tensor) -> Outputs:
        """The same for H and W that are multiples of `stride`; this is what gets exported."""
        images = self.normalise(images)
        if self.auxiliary_head is None or not self.training:
            return {"semantic": self.model(images)}
        features = self.model.encoder(images)
        semantic = self.model.segmentation_head(self.model.decoder(features))
        auxiliary = F.interpolate(
            self.auxiliary_head(features[-2]),
            size=images.shape[-2:],
            mode="bilinear",
            align_corners=False,
        )
        return {"semantic": semantic, "auxiliary": auxiliary}


def _auxiliary_head(in_channels: int, num_classes: int) -> nn.Sequential:
    width = max(16, in_channels // 4)
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, num_classes, 1),
    )
