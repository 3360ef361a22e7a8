"""Panoptic-DeepLab: class, centre and offset per pixel.

Cheng et al., CVPR 2020 (arXiv:1911.10194).
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Len, MultipleOf
from segmentation_models_pytorch.decoders.deeplabv3.decoder import ASPP
from torch import Tensor, nn
from torch.nn import functional as F

from maskmill.networks.encoders import TimmEncoder
from maskmill.networks.outputs import PanopticDeepLabOutputs, check_num_classes
from maskmill.networks.padding import at_any_size

SKIP_STRIDES = (8, 4)  # of the low-level features that the decoders use, coarse to fine (sec. 3.1)

SCALES = (0.25, 0.5, 1.0, 2.0)  # with the stride in whole pixels of the image


class PanopticDeepLab(nn.Module):
    """Semantic logits, centre heatmap and offsets to the centre, at the size of the input.

    Args:
        encoder: the backbone, shared by both decoders.
        width: channels of the semantic decoder, even; the instance decoder has half as many
            (256 and 128 in sec. 3.1).
        atrous_rates: dilations of the three atrous convolutions of each ASPP.
        output_stride: of the encoder.
        dual_decoder: use a second decoder for centres and offsets; False lets them share the
            semantic decoder.
        scale: images are resized by this factor, one of `SCALES`, in front of the encoder, and the
            outputs back: 2 for objects of a few pixels, less than 1 for very large objects.
        start_at_zero: the first outputs for centres and offsets are 0, as most of their targets
            are; otherwise a short training needs many of its steps to get there.
        num_classes: K, channels of the semantic logits.

    Raises:
        ValueError: `num_classes` is less than 1, `scale` is none of `SCALES`, or the encoder does
            not fit.

    Example:
        >>> import torch
        >>> encoder = TimmEncoder("resnet10t")
        >>> network = PanopticDeepLab(encoder, width=16, atrous_rates=[1, 2, 3], num_classes=5)
        >>> outputs = network(torch.zeros(2, 3, 40, 60, dtype=torch.uint8))
        >>> {name: tuple(output.shape) for name, output in outputs.items()}
        {'semantic': (2, 5, 40, 60), 'center': (2, 1, 40, 60), 'offset': (2, 2, 40, 60)}
    """

    def __init__(
        self,
        encoder: TimmEncoder,
        *,
        width: Annotated[int, Ge(8), MultipleOf(2)],
        atrous_rates: Annotated[Sequence[Annotated[int, Ge(1)]], Len(3, 3)],
        output_stride: Literal[16, 32] = 16,
        dual_decoder: bool = True,
        scale: Annotated[float, Gt(0)] = 1.0,
        start_at_zero: bool = False,
        num_classes: int,
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        if scale not in SCALES:
            allowed = ", ".join(map(str, SCALES))
            raise ValueError(
                f"Expected `scale` to be one of {allowed}, but got {scale} - set network.scale"
            )
        self.normalise = encoder.normalisation()
        self.encoder = encoder.create(output_stride=output_stride)
        self.scale = scale
        self.stride = max(32, int(32 / scale))
        out_channels = self.encoder.out_channels
        channels: list[int] = list(out_channels)  # type: ignore[arg-type] # strides 1, 2, ..., 32
        skip_channels = [channels[_feature_index(stride)] for stride in SKIP_STRIDES]
        instance_width = width // 2 if dual_decoder else width
        self.semantic_decoder = Decoder(channels[-1], skip_channels, width, atrous_rates)
        self.instance_decoder: Decoder | None = None
        if dual_decoder:
            self.instance_decoder = Decoder(
                channels[-1], skip_channels, instance_width, atrous_rates
            )
        self.semantic_head = build_head(width, num_classes)
        self.center_head = build_head(instance_width, 1)
        self.offset_head = build_head(instance_width, 2)
        if start_at_zero:
            for head in (self.center_head, self.offset_head):
                _zero(head[-1])

    def forward(self, images: Tensor) -> PanopticDeepLabOutputs:
        """Class logits, centres and offsets of images (B, C, H, W) with values 0..255.

        Raises:
            ValueError: a single image in training; the ASPP normalises pooled features, one per
                image, over the batch.
        """
        if self.training and len(images) < 2:
            raise ValueError(
                "Expected at least two images per batch in training, but got one - "
                "raise data.batch_size"
            )
        return at_any_size(self.body, images, self.stride)

    def body(self, images: Tensor) -> PanopticDeepLabOutputs:
        """Outputs for images whose sides are multiples of `stride`; the part that is exported.

        Args:
            images: (B, C, H, W) with values 0..255.
        """
        features = self.encoder(resize(self.normalise(images), self.scale))
        skips = [features[_feature_index(stride)] for stride in SKIP_STRIDES]
        semantic_feature = self.semantic_decoder(features[-1], skips)  # (B, D, H/4, W/4)
        instance_feature = semantic_feature
        if self.instance_decoder is not None:
            instance_feature = self.instance_decoder(features[-1], skips)  # (B, D/2, H/4, W/4)
        semantic = self.semantic_head(semantic_feature)  # (B, K, H/4, W/4)
        center = self.center_head(instance_feature)  # (B, 1, H/4, W/4)
        offset = self.offset_head(instance_feature)  # (B, 2, H/4, W/4), in px of this map
        offset = offset * (SKIP_STRIDES[-1] / self.scale)  # (B, 2, H/4, W/4), in px of the image
        size = images.shape[-2:]
        return {
            "semantic": F.interpolate(semantic, size=size, mode="bilinear", align_corners=False),
            "center": F.interpolate(center, size=size, mode="bilinear", align_corners=False),
            "offset": F.interpolate(offset, size=size, mode="bilinear", align_corners=False),
        }


def resize(images: Tensor, scale: float) -> Tensor:
    """Images (B, C, H, W) as (B, C, scale H, scale W): block means to shrink, bilinear to enlarge.

    Args:
        images: whose sides are multiples of 1 / scale.
        scale: a whole number, or 1 divided by one.
    """
    if scale == 1:
        return images
    if scale < 1:
        return F.avg_pool2d(images, int(1 / scale))
    return F.interpolate(images, scale_factor=scale, mode="bilinear", align_corners=False)


def _zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def _feature_index(stride: int) -> int:
    """Index of the feature with this stride; the features have strides 1, 2, 4, ..., 32."""
    return stride.bit_length() - 1


class Decoder(nn.Module):
    """An ASPP and two fusions with low-level features (sec. 3.1).

    Each fusion upsamples, concatenates a low-level feature, and applies one depthwise separable
    5x5 convolution.

    Args:
        in_channels: of the deepest feature.
        skip_channels: of the low-level features, coarse to fine.
        width: D, channels of the result.
        atrous_rates: dilations of the ASPP.
    """

    def __init__(
        self,
        in_channels: int,
        skip_channels: Sequence[int],
        width: int,
        atrous_rates: Sequence[int],
    ) -> None:
        super().__init__()
        self.aspp = ASPP(in_channels, width, list(atrous_rates), separable=True, dropout=0.1)
        skip_widths = [max(8, width // 4), max(8, width // 8)]  # 64 and 32 in the paper (width 256)
        self.project = nn.ModuleList()
        for channels, skip_width in zip(skip_channels, skip_widths, strict=True):
            convolution = nn.Conv2d(channels, skip_width, 1, bias=False)
            block = nn.Sequential(convolution, nn.BatchNorm2d(skip_width), nn.ReLU())
            self.project.append(block)
        self.fuse = nn.ModuleList()
        for skip_width in skip_widths:
            self.fuse.append(build_separable(width + skip_width, width))

    def forward(self, deepest: Tensor, skips: Sequence[Tensor]) -> Tensor:
        """Decoded feature (B, D, H/4, W/4).

        Args:
            deepest: (B, C, H/16, W/16) or (B, C, H/32, W/32).
            skips: features (B, C, H/8, W/8) and (B, C, H/4, W/4).
        """
        x: Tensor = self.aspp(deepest)  # (B, D, H/16, W/16)
        for project, fuse, skip in zip(self.project, self.fuse, skips, strict=True):
            x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = torch.cat([x, project(skip)], dim=1)
            x = fuse(x)  # (B, D, H/8, W/8), then (B, D, H/4, W/4)
        return x


def build_separable(in_channels: int, out_channels: int) -> nn.Sequential:
    """A depthwise 5x5 and a pointwise convolution, each followed by batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 5, padding=2, groups=in_channels, bias=False),
        nn.BatchNorm2d(in_channels),
        nn.ReLU(),
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


def build_head(width: int, num_outputs: int) -> nn.Sequential:
    """A prediction head: a separable 5x5 convolution and a 1x1 convolution to the outputs."""
    return nn.Sequential(build_separable(width, width), nn.Conv2d(width, num_outputs, 1))
