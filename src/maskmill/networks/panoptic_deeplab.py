"""Panoptic-DeepLab: class, centre and offset per pixel (Cheng et al., CVPR 2020, arXiv:1911.10194)."""

from collections.abc import Sequence

import torch
from segmentation_models_pytorch.decoders.deeplabv3.decoder import ASPP
from torch import Tensor, nn
from torch.nn import functional as F

from maskmill.networks.encoders import TimmEncoder
from maskmill.networks.padding import Outputs, at_any_size

SKIP_STRIDES = (8, 4)  # where low-level features join, coarse to fine (sec. 3.1)


class PanopticDeepLab(nn.Module):
    """Semantic logits, centre heatmap and offsets to the centre, at the size of the input.

    Args:
        encoder: the backbone, shared by both decoders.
        width: channels of the semantic decoder; the instance decoder has half as many (sec. 3.1 has 256 and 128).
        atrous_rates: dilations of the three atrous convolutions of each ASPP.
        output_stride: of the encoder: 16 or 32.
        dual_decoder: give centres and offsets a decoder of their own; False lets them share the semantic one.
        num_classes: K, channels of the semantic result.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        encoder: TimmEncoder,
        *,
        width: int,
        atrous_rates: Sequence[int],
        output_stride: int = 16,
        dual_decoder: bool = True,
        num_classes: int,
    ) -> None:
        super().__init__()
        rates = list(atrous_rates)
        if (
            width < 8
            or width % 2
            or len(rates) != 3
            or min(rates) < 1
            or output_stride not in {16, 32}
        ):
            raise ValueError(
                f"Expected an even `width` from 8, three `atrous_rates` of at least 1 and an `output_stride` of 16 or 32, "
                f"but got {width}, {rates} and {output_stride} - mend conf/network"
            )
        if num_classes < 1:
            raise ValueError(
                f"Expected `num_classes` of at least 1, but got {num_classes} - pass categories.num_outputs"
            )
        self.normalise = encoder.normalisation()
        self.encoder = encoder.create(output_stride=output_stride)
        self.stride = 32
        channels: list[int] = list(self.encoder.out_channels)  # type: ignore[arg-type] # strides 1, 2, 4, 8, 16, 32
        skips = [channels[stride.bit_length() - 1] for stride in SKIP_STRIDES]
        instance_width = width // 2 if dual_decoder else width
        self.semantic_decoder = Decoder(channels[-1], skips, width, rates)
        self.instance_decoder = (
            Decoder(channels[-1], skips, instance_width, rates) if dual_decoder else None
        )
        self.semantic_head = head(width, num_classes)
        self.center_head = head(instance_width, 1)
        self.offset_head = head(instance_width, 2)

    def forward(self, images: Tensor) -> Outputs:
        """Images (B, C, H, W), 0..255, to `semantic` (B, K, H, W) logits, `center` (B, 1, H, W) and `offset` (B, 2, H, W), dy dx in px.

        Raises:
            ValueError: a single image in training: the ASPP normalises over the batch what it pools from each image.
        """
        if self.training and len(images) < 2:
            raise ValueError(
                "Expected at least two images a batch in training, but got one - raise data.batch_size"
            )
        return at_any_size(self.body, images, self.stride)

    def body(self, images: Tensor) -> Outputs:
        """The same for H and W that are multiples of `stride`; this is what gets exported."""
        features = self.encoder(self.normalise(images))
        skips = [features[stride.bit_length() - 1] for stride in SKIP_STRIDES]
        semantic = self.semantic_decoder(features[-1], skips)  # (B, D, H/4, W/4)
        instance = (
            semantic
            if self.instance_decoder is None
            else self.instance_decoder(features[-1], skips)
        )  # (B, D/2, H/4, W/4)
        outputs = {
            "semantic": self.semantic_head(semantic),
            "center": self.center_head(instance),
            "offset": self.offset_head(instance),
        }
        outputs["offset"] = (
            outputs["offset"] * SKIP_STRIDES[-1]
        )  # predicted in pixels of the map it is predicted on
        size = images.shape[-2:]
        return {
            name: F.interpolate(output, size=size, mode="bilinear", align_corners=False)
            for name, output in outputs.items()
        }


class Decoder(nn.Module):
    """ASPP, then twice: upsample, join a low-level feature, one depthwise separable 5x5 convolution (sec. 3.1)."""

    def __init__(
        self,
        in_channels: int,
        skip_channels: Sequence[int],
        width: int,
        atrous_rates: Sequence[int],
    ) -> None:
        super().__init__()
        self.aspp = ASPP(in_channels, width, list(atrous_rates), separable=True, dropout=0.1)
        projected = [
            max(8, width // 4),
            max(8, width // 8),
        ]  # 64 and 32 at the paper's width of 256
        self.project = nn.ModuleList(
            nn.Sequential(nn.Conv2d(skip, narrow, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU())
            for skip, narrow in zip(skip_channels, projected, strict=True)
        )
        self.fuse = nn.ModuleList(separable(width + narrow, width) for narrow in projected)

    def forward(self, deepest: Tensor, skips: Sequence[Tensor]) -> Tensor:
        """Deepest feature (B, C, H/16, W/16) and the skips at strides 8 and 4 to (B, D, H/4, W/4)."""
        x: Tensor = self.aspp(deepest)
        for project, fuse, skip in zip(self.project, self.fuse, skips, strict=True):
            x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = fuse(torch.cat([x, project(skip)], dim=1))
        return x


def separable(in_channels: int, out_channels: int) -> nn.Sequential:
    """A 5x5 convolution per channel and a 1x1 across them, each normalised and rectified."""
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 5, padding=2, groups=in_channels, bias=False),
        nn.BatchNorm2d(in_channels),
        nn.ReLU(),
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


def head(width: int, num_outputs: int) -> nn.Sequential:
    """A prediction head: separable 5x5, then 1x1 to the outputs."""
    return nn.Sequential(separable(width, width), nn.Conv2d(width, num_outputs, 1))
