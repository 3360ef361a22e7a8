"""Semantic networks: an encoder and a decoder of segmentation_models_pytorch (smp)."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from annotated_types import Ge
from torch import Tensor, nn
from torch.nn import functional as F

from maskmill.networks.encoders import TimmEncoder
from maskmill.networks.outputs import SemanticOutputs, check_num_classes
from maskmill.networks.padding import at_any_size


class EncoderDecoder(nn.Module):
    """Class logits at the size of the input, for images of any size.

    Args:
        encoder: the backbone.
        decoder: an architecture of segmentation_models_pytorch as a partial, with its own settings.
        stride: in px; images are padded to a multiple of it, and to at least twice it. Decoders
            that pool further need more than 32.
        auxiliary: in training, also return class logits of the encoder's second to last feature,
            for a second loss that reaches the encoder directly (Zhao et al., PSPNet,
            arXiv:1612.01105, sec. 3.3).
        num_classes: K, the number of output channels.

    Raises:
        ValueError: `num_classes` is less than 1, the decoder builds a model without an encoder, or
            encoder and decoder do not fit.

    Example:
        >>> import segmentation_models_pytorch as smp
        >>> import torch
        >>> network = EncoderDecoder(TimmEncoder("resnet10t"), smp.FPN, num_classes=5)
        >>> network(torch.zeros(2, 3, 40, 60, dtype=torch.uint8))["semantic"].shape
        torch.Size([2, 5, 40, 60])
    """

    def __init__(
        self,
        encoder: TimmEncoder,
        decoder: Callable[..., nn.Module],
        *,
        stride: Annotated[int, Ge(1)] = 32,
        auxiliary: bool = False,
        num_classes: int,
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        self.normalise = encoder.normalisation()
        self.stride = stride
        settings = encoder.settings()
        weights = True if encoder.has_weights else None
        with encoder.explain_misfit(f"the decoder {_name(decoder)}"):
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
                "Expected `decoder` to be a model of segmentation_models_pytorch, "
                f"but got a {type(self.model).__name__} - choose a file of conf/network"
            )
        # smp's encoder of plain transformers; all its features have the same stride
        is_plain = hasattr(backbone, "output_strides")
        if auxiliary and is_plain:
            raise ValueError(
                "Expected a network with a feature pyramid for `auxiliary`, but DPT has none - "
                "set network.auxiliary=false"
            )
        encoder.prepare(backbone, stride=stride)
        channels: Sequence[int] = backbone.out_channels  # type: ignore[assignment] # smp encoders
        self.auxiliary_head = _auxiliary_head(channels[-2], num_classes) if auxiliary else None

    def forward(self, images: Tensor) -> SemanticOutputs:
        """Class logits of images (B, C, H, W) with values 0..255."""
        return at_any_size(self.body, images, self.stride)

    def body(self, images: Tensor) -> SemanticOutputs:
        """Class logits of images whose sides are multiples of `stride`; the part that is exported.

        Args:
            images: (B, C, H, W) with values 0..255.
        """
        images = self.normalise(images)
        if self.auxiliary_head is None or not self.training:
            return {"semantic": self.model(images)}  # (B, K, H, W)
        features = self.model.encoder(images)
        semantic = self.model.segmentation_head(self.model.decoder(features))  # (B, K, H, W)
        auxiliary = self.auxiliary_head(features[-2])  # (B, K, H/16, W/16)
        size = images.shape[-2:]
        auxiliary = F.interpolate(auxiliary, size=size, mode="bilinear", align_corners=False)
        return {"semantic": semantic, "auxiliary": auxiliary}


def _name(decoder: Callable[..., nn.Module]) -> str:
    function = getattr(decoder, "func", decoder)  # of a partial
    return str(getattr(function, "__name__", decoder))


def _auxiliary_head(in_channels: int, num_classes: int) -> nn.Sequential:
    width = max(16, in_channels // 4)
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, num_classes, 1),
    )
