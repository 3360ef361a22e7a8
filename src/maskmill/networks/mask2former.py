"""Mask2Former: a class and a mask per query (Cheng et al., CVPR 2022, arXiv:2112.01527).

The layers are those of transformers.
"""

import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Annotated, Any

import torch
from annotated_types import Ge, MultipleOf
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, ResNetConfig

from maskmill.networks.architecture import (
    Architecture,
    config_of,
    plain_architecture,
    require_one,
)
from maskmill.networks.encoders import Normalisation, TimmEncoder
from maskmill.networks.outputs import MaskOutputs, check_num_classes
from maskmill.networks.padding import at_any_size

STAGES = ["stage1", "stage2", "stage3", "stage4"]  # strides 4, 8, 16, 32


class Mask2Former(nn.Module):
    """A class and a mask per query; masks have a quarter of the image's size.

    Build it with `from_encoder` or `from_checkpoint`.

    Args:
        model: of transformers.
        normalise: for its backbone.
    """

    def __init__(
        self, model: Mask2FormerForUniversalSegmentation, normalise: Normalisation
    ) -> None:
        super().__init__()
        self.architecture: Architecture | None = None  # of a checkpoint, to build it again
        # The loss is maskmill.losses.mask_classification, which ignores void.
        model.criterion = None
        self.model = model
        self.normalise = normalise
        self.stride = 32

    def forward(self, images: Tensor) -> MaskOutputs:
        """Class and mask logits of images (B, C, H, W) with values 0..255.

        In training, also those before each decoder layer.
        """
        return at_any_size(self.body, images, self.stride)

    def body(self, images: Tensor) -> MaskOutputs:
        """Outputs for images whose sides are multiples of `stride`; the part that is exported.

        Args:
            images: (B, C, H, W) with values 0..255.
        """
        with SizesAsTensors() if torch.compiler.is_exporting() else nullcontext():
            result = self.model(
                pixel_values=self.normalise(images), output_auxiliary_logits=self.training
            )
        outputs: MaskOutputs = {
            "class_logits": result.class_queries_logits,  # (B, Q, K + 1)
            "mask_logits": result.masks_queries_logits,  # (B, Q, H/4, W/4)
        }
        if self.training:
            layers = result.auxiliary_logits
            class_logits = [layer["class_queries_logits"] for layer in layers]
            mask_logits = [layer["masks_queries_logits"] for layer in layers]
            outputs["aux_class_logits"] = torch.stack(class_logits)  # (layers, B, Q, K + 1)
            outputs["aux_mask_logits"] = torch.stack(mask_logits)  # (layers, B, Q, H/4, W/4)
        return outputs


class SizesAsTensors(TorchFunctionMode):
    """Keeps map sizes symbolic during export.

    The library builds tensors from the sizes of its maps; torch would export their values as
    constants.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Collection[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call `func`, except for tensors of size pairs and for `linspace`.

        The library uses `linspace` for the centres of pixels.
        """
        kwargs = kwargs or {}
        if func is torch.linspace:
            start, _, num_steps = args
            return torch.arange(num_steps, **kwargs) + start
        if func not in {torch.tensor, torch.as_tensor} or not isinstance(args[0], list):
            return func(*args, **kwargs)
        rows = []
        for row in args[0]:
            values = [torch.full((), value, **kwargs) for value in row]
            rows.append(torch.stack(values))
        return torch.stack(rows)


class Pyramid(nn.Module):
    """Our encoder with the interface of a transformers backbone."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> SimpleNamespace:
        """Maps of images (B, C, H, W) at strides 4, 8, 16 and 32, as `feature_maps`."""
        return SimpleNamespace(feature_maps=self.encoder(images)[-len(STAGES) :])


def from_encoder(
    encoder: TimmEncoder,
    *,
    width: Annotated[int, Ge(32), MultipleOf(32)],
    num_queries: Annotated[int, Ge(1)],
    pixel_layers: Annotated[int, Ge(1)],
    decoder_layers: Annotated[int, Ge(1)],
    num_heads: Annotated[int, Ge(1)] = 8,
    num_classes: int,
) -> Mask2Former:
    """Mask2Former with any of our backbones; all weights outside the backbone are random.

    Args:
        encoder: the backbone.
        width: D, channels of pixel decoder and queries; 256 in the paper.
        num_queries: Q, the largest number of segments in an image; 100 in the paper.
        pixel_layers: of deformable attention in the pixel decoder; 6 in the paper.
        decoder_layers: of masked attention; 9 in the paper.
        num_heads: of every attention.
        num_classes: K.

    Raises:
        ValueError: `width` is not a multiple of `num_heads`, `num_classes` is less than 1, or the
            encoder does not fit.

    Example:
        >>> import torch
        >>> layers = {"pixel_layers": 1, "decoder_layers": 2, "num_heads": 4}
        >>> encoder = TimmEncoder("resnet10t")
        >>> network = from_encoder(encoder, width=32, num_queries=6, **layers, num_classes=5).eval()
        >>> outputs = network(torch.zeros(1, 3, 64, 96, dtype=torch.uint8))
        >>> {name: tuple(output.shape) for name, output in outputs.items()}
        {'class_logits': (1, 6, 6), 'mask_logits': (1, 6, 16, 24)}
    """
    if width % num_heads:
        raise ValueError(
            f"Expected `width` to be a multiple of `num_heads`, but got {width} and {num_heads} - "
            "set either network.width or network.num_heads"
        )
    check_num_classes(num_classes)
    backbone = encoder.create()
    out_channels = backbone.out_channels
    channels: list[int] = list(out_channels)[-len(STAGES) :]  # type: ignore[arg-type] # smp
    # transformers builds a backbone before we can replace it: a small one with our channels.
    placeholder = ResNetConfig(
        hidden_sizes=channels, depths=[1] * len(STAGES), layer_type="basic", out_features=STAGES
    )
    with _no_backbone_warning():
        config = Mask2FormerConfig(
            backbone_config=placeholder,
            feature_size=width,
            mask_feature_size=width,
            hidden_dim=width,
            encoder_feedforward_dim=4 * width,
            dim_feedforward=8 * width,
            encoder_layers=pixel_layers,
            decoder_layers=decoder_layers + 1,  # includes the prediction before the first layer
            num_attention_heads=num_heads,
            num_queries=num_queries,
            num_labels=num_classes,
        )
        model = Mask2FormerForUniversalSegmentation(config)
    model.model.pixel_level_module.encoder = Pyramid(backbone)
    return Mask2Former(model, encoder.normalisation())


def from_checkpoint(
    checkpoint: str | None = None,
    *,
    architecture: Architecture | None = None,
    num_classes: int,
) -> Mask2Former:
    """A trained Mask2Former with its own backbone and a new class head.

    Args:
        checkpoint: a folder that transformers saved, or a name on its hub, such as
            facebook/mask2former-swin-small-coco-panoptic.
        architecture: used instead, with random weights: `network.architecture` of an earlier call.
        num_classes: K.

    Raises:
        ValueError: neither or both are set, or the architecture has an unknown backbone.
    """
    require_one(checkpoint, architecture)
    if architecture is not None:
        model = Mask2FormerForUniversalSegmentation(
            config_of(Mask2FormerConfig, architecture, num_classes)
        )
    else:
        model = Mask2FormerForUniversalSegmentation.from_pretrained(
            checkpoint, num_labels=num_classes, ignore_mismatched_sizes=True
        )
    swin = getattr(model.model.pixel_level_module.encoder, "swin", None)
    if swin is not None:  # the library normalises a last map there that nothing reads
        swin.layernorm.requires_grad_(False)
    network = Mask2Former(model, Normalisation(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    network.architecture = plain_architecture(model.config)
    return network


@contextmanager
def _no_backbone_warning() -> Iterator[None]:
    """Silence the library's warning about every backbone except Swin; tests cover our backbones."""
    logger = logging.getLogger("transformers.models.mask2former.configuration_mask2former")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
