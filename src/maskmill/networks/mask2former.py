"""Mask2Former: queries that each give a class and a mask (Cheng et al., CVPR 2022, arXiv:2112.01527), as transformers has it."""

import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, ResNetConfig

from maskmill.networks.encoders import Normalisation, TimmEncoder
from maskmill.networks.padding import Outputs, at_any_size

NUM_FEATURES = 4  # strides 4, 8, 16, 32


class Mask2Former(nn.Module):
    """A class and a mask per query, masks at a quarter of the size; build it with `from_encoder` or `from_checkpoint`.

    Args:
        model: of transformers.
        normalise: for its backbone.
    """

    def __init__(
        self, model: Mask2FormerForUniversalSegmentation, normalise: Normalisation
    ) -> None:
        super().__init__()
        model.criterion = None  # the loss is maskmill.losses.mask_classification, which knows void
        self.model, self.normalise, self.stride = model, normalise, 32

    def forward(self, images: Tensor) -> Outputs:
        """Images (B, C, H, W), 0..255, to `class_logits` (B, Q, K + 1), the last for no object, and `mask_logits` (B, Q, H/4, W/4).

        In training also those of the L decoder layers before: `aux_class_logits` (L, B, Q, K + 1) and `aux_mask_logits`
        (L, B, Q, H/4, W/4).
        """
        return at_any_size(self.body, images, self.stride)

    def body(self, images: Tensor) -> Outputs:
        """The same for H and W that are multiples of `stride`; this is what gets exported."""
        with SizesAsTensors() if torch.compiler.is_exporting() else nullcontext():
            found = self.model(
                pixel_values=self.normalise(images), output_auxiliary_logits=self.training
            )
        outputs = {
            "class_logits": found.class_queries_logits,
            "mask_logits": found.masks_queries_logits,
        }
        if self.training:
            for ours, theirs in (
                ("aux_class_logits", "class_queries_logits"),
                ("aux_mask_logits", "masks_queries_logits"),
            ):
                outputs[ours] = torch.stack([layer[theirs] for layer in found.auxiliary_logits])
        return outputs


class SizesAsTensors(TorchFunctionMode):
    """Lets an exporter follow the sizes of maps where the library makes tensors of them: torch takes their values for constants."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Collection[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """As without, but for tensors of pairs of sizes, and for the middles of pixels, which the library makes by `linspace`."""
        kwargs = kwargs or {}
        if func is torch.linspace:
            start, _, num = args
            return torch.arange(num, **kwargs) + start
        if func not in {torch.tensor, torch.as_tensor} or not isinstance(args[0], list):
            return func(*args, **kwargs)
        rows = [torch.stack([torch.full((), value, **kwargs) for value in row]) for row in args[0]]
        return torch.stack(rows)


class Pyramid(nn.Module):
    """An encoder of ours as transformers wants a backbone: the maps at strides 4 to 32 as `feature_maps`."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> SimpleNamespace:
        """Images (B, C, H, W) to the maps, fine to coarse."""
        return SimpleNamespace(feature_maps=self.encoder(images)[-NUM_FEATURES:])


def from_encoder(
    encoder: TimmEncoder,
    *,
    width: int,
    num_queries: int,
    pixel_layers: int,
    decoder_layers: int,
    num_heads: int = 8,
    num_classes: int,
) -> Mask2Former:
    """Mask2Former over any backbone of ours; all but the backbone begins with random weights.

    Args:
        encoder: the backbone.
        width: D, channels of pixel decoder and queries; 256 in the paper.
        num_queries: Q, most segments in an image; 100 in the paper.
        pixel_layers: of deformable attention in the pixel decoder; 6 in the paper.
        decoder_layers: of masked attention; 9 in the paper.
        num_heads: of every attention.
        num_classes: K.

    Raises:
        ValueError: a number is out of range.
    """
    if (
        width < 32
        or width % 32
        or width % num_heads
        or min(num_queries, pixel_layers, decoder_layers) < 1
    ):
        raise ValueError(
            f"Expected `width` to be a multiple of 32 and of `num_heads`, and at least one query and layer of each kind, "
            f"but got {width}, {num_heads}, {num_queries}, {pixel_layers} and {decoder_layers} - mend conf/network"
        )
    if num_classes < 1:
        raise ValueError(
            f"Expected `num_classes` of at least 1, but got {num_classes} - pass categories.num_outputs"
        )
    backbone = encoder.create()
    channels: list[int] = list(backbone.out_channels)[-NUM_FEATURES:]  # type: ignore[arg-type] # strides 4, 8, 16, 32
    # transformers builds a backbone of its own before we give it ours: a small one whose maps have our channels
    stand_in = ResNetConfig(
        hidden_sizes=channels,
        depths=[1] * 4,
        layer_type="basic",
        out_features=[f"stage{n}" for n in range(1, 5)],
    )
    with _without_notice():
        config = Mask2FormerConfig(
            backbone_config=stand_in,
            feature_size=width,
            mask_feature_size=width,
            hidden_dim=width,
            encoder_feedforward_dim=4 * width,
            dim_feedforward=8 * width,
            encoder_layers=pixel_layers,
            decoder_layers=decoder_layers
            + 1,  # the library counts the prediction before the first layer too
            num_attention_heads=num_heads,
            num_queries=num_queries,
            num_labels=num_classes,
        )
        model = Mask2FormerForUniversalSegmentation(config)
    model.model.pixel_level_module.encoder = Pyramid(backbone)
    return Mask2Former(model, encoder.normalisation())


def from_checkpoint(checkpoint: str, *, num_classes: int) -> Mask2Former:
    """Mask2Former as someone trained it, with its own backbone and a new class head.

    Args:
        checkpoint: a folder that transformers saved, or a name on its hub, as facebook/mask2former-swin-small-coco-panoptic.
        num_classes: K.
    """
    model = Mask2FormerForUniversalSegmentation.from_pretrained(
        checkpoint, num_labels=num_classes, ignore_mismatched_sizes=True
    )
    return Mask2Former(model, Normalisation(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))


@contextmanager
def _without_notice() -> Iterator[None]:
    """The library warns of every backbone but Swin; the stand-in is replaced, and tests hold what replaces it."""
    logger = logging.getLogger("transformers.models.mask2former.configuration_mask2former")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
