"""Encoders: any timm backbone, with its weights and its normalisation."""

import difflib
import inspect
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import timm
import torch
from annotated_types import Ge, Interval
from segmentation_models_pytorch.encoders import get_encoder
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import VisionTransformer
from torch import Tensor, nn

from maskmill.networks.layers import FineTuning, set_fine_tuning
from maskmill.networks.weights import check_weights_source, read_weights

SMP_PREFIX = "tu-"  # segmentation_models_pytorch (smp) adds it to the name of a timm backbone
# Arguments with which timm's plain and windowed transformers accept images of any size
ANY_SIZE = {"dynamic_img_size": True, "strict_img_size": False}
# What timm and smp raise for a backbone that they cannot use
MISFIT_ERRORS = (
    TypeError,
    ValueError,
    RuntimeError,
    AssertionError,
    IndexError,
    NotImplementedError,
)

# timm warns about the classifier, which a feature extractor does not have. weights.py has already
# compared all names and shapes with the model.
logging.getLogger("timm.models._builder").setLevel(logging.ERROR)


class TimmEncoder:
    """A backbone's name, weights and fine-tuning; each network creates its own module from it.

    Args:
        name: of a timm model that returns feature maps, such as resnet18, convnext_tiny or
            swin_tiny_patch4_window7_224.
        pretrained: download timm's weights from the hub.
        weights: used instead of the hub: a local state dict of the timm model (.safetensors, or
            .pth that contains tensors only), or the word `package` for weights that come as a
            Python package (tf_efficientnet_lite0, lite1, lite2).
        in_channels: C of the images. Weights for three channels are adapted as timm does it:
            summed for one channel, repeated and scaled for other numbers.
        frozen_stages: number of stages, counted from the stem, that keep their weights and
            batch-norm statistics.
        frozen_batch_norm: all batch norms of the backbone keep their weights and statistics, which
            helps with small batches.
        layer_decay: factor of the learning rate from each layer to the layer before it
            (arXiv:2106.08254, app. H); 1 gives all layers the same rate.

    Raises:
        ValueError: timm has no model of this name, both kinds of weights are set, or no package
            contains weights of this model.
        FileNotFoundError: the weights file does not exist.

    Example:
        >>> import torch
        >>> encoder = TimmEncoder("resnet10t").create()
        >>> [tuple(feature.shape) for feature in encoder(torch.zeros(2, 3, 64, 96))[-2:]]
        [(2, 256, 4, 6), (2, 512, 2, 3)]
    """

    def __init__(
        self,
        name: str,
        *,
        pretrained: bool = False,
        weights: Path | None = None,
        in_channels: Annotated[int, Ge(1)] = 3,
        frozen_stages: Annotated[int, Ge(0)] = 0,
        frozen_batch_norm: bool = False,
        layer_decay: Annotated[float, Interval(gt=0, le=1)] = 1.0,
    ) -> None:
        if not timm.is_model(name):
            similar = difflib.get_close_matches(name, timm.list_models(), n=5)
            raise ValueError(
                f"Expected the name of a timm model, but got {name!r} - "
                f"did you mean one of {similar}?"
            )
        if pretrained and weights is not None:
            raise ValueError(
                f"Expected either `pretrained` or `weights`, but got both (weights {weights}) - "
                "set one of them"
            )
        if weights is not None:
            check_weights_source(name, weights)
        self.name = name
        self.pretrained = pretrained
        self.weights = weights
        self.in_channels = in_channels
        self.fine_tuning = FineTuning(frozen_stages, frozen_batch_norm, layer_decay)

    @property
    def smp_name(self) -> str:
        """The backbone's name in segmentation_models_pytorch."""
        return SMP_PREFIX + self.name

    @property
    def has_weights(self) -> bool:
        """Whether timm loads weights."""
        return self.pretrained or self.weights is not None

    def settings(self) -> dict[str, Any]:
        """Arguments of timm.create_model, except the name and `pretrained`; smp passes them on."""
        parameters = inspect.signature(type(self._reference).__init__).parameters
        settings: dict[str, Any] = {}
        for key, value in ANY_SIZE.items():
            if key in parameters:
                settings[key] = value
        if self.weights is not None:
            state = read_weights(self.name, self.weights, self._reference)
            settings["pretrained_cfg_overlay"] = {"state_dict": state}
        return settings

    def create(self, *, output_stride: int = 32, depth: int = 5) -> nn.Module:
        """A module with loaded weights that returns feature maps at strides 1, 2, 4, and so on.

        Its attribute `out_channels` lists their channels.

        Args:
            output_stride: the largest stride; deeper stages are dilated instead of strided.
            depth: number of halvings.

        Raises:
            ValueError: the backbone has no such feature maps.
        """
        settings = self.settings()
        weights = True if self.has_weights else None
        with self.explain_misfit(f"output stride {output_stride}"):
            encoder: nn.Module = get_encoder(
                self.smp_name,
                in_channels=self.in_channels,
                depth=depth,
                weights=weights,
                output_stride=output_stride,
                **settings,
            )
        self.prepare(encoder)
        return encoder

    def create_plain(self, *, patch_size: int, image_size: int | None = None) -> VisionTransformer:
        """The backbone as a plain ViT without a classifier, with loaded weights.

        Args:
            patch_size: in px; weights of another patch size are resampled.
            image_size: side in px for which position embeddings are resampled; None keeps them.

        Raises:
            ValueError: the backbone is not a plain ViT.
        """
        settings = self.settings() | {"patch_size": patch_size}
        if image_size is not None:
            settings["img_size"] = image_size
        with self.explain_misfit("a network of plain ViTs (eomt)"):
            vit = timm.create_model(
                self.name,
                pretrained=self.has_weights,
                in_chans=self.in_channels,
                num_classes=0,
                **settings,
            )
            if not isinstance(vit, VisionTransformer):
                raise TypeError(f"it is a {type(vit).__name__}, not a VisionTransformer")
        return vit

    def prepare(self, encoder: nn.Module, *, stride: int = 32) -> None:
        """Check an encoder that smp built, and freeze its layers; it is changed in place.

        Args:
            encoder: with the timm model as its attribute `model`.
            stride: image sides will be multiples of it, and at least twice it.

        Raises:
            ValueError: it does not accept images of any size, or has fewer than `frozen_stages`.
        """
        backbone: nn.Module = encoder.model  # type: ignore[assignment] # smp's name of it
        indices: Any = getattr(encoder, "_output_indices", None)
        if indices:  # a whole classifier: layers above the last feature would never be trained
            backbone.prune_intermediate_layers(  # type: ignore[operator] # of timm models
                list(indices), prune_norm=True, prune_head=True
            )
        height = 2 * stride
        width = 3 * stride
        with self.explain_misfit(f"images of {height} x {width} px"), torch.no_grad():
            encoder.eval()(torch.zeros(1, self.in_channels, height, width))
        encoder.train()
        set_fine_tuning(backbone, self._reference, self.fine_tuning)

    @contextmanager
    def explain_misfit(self, part: str) -> Iterator[None]:
        """If timm or smp cannot build `part` from this backbone, say which backbones fit.

        Raises:
            ValueError: timm or smp raised one of `MISFIT_ERRORS`.
        """
        try:
            yield
        except MISFIT_ERRORS as error:
            raise ValueError(
                f"Expected a backbone that fits {part}, but {self.name} does not: {error} - "
                "choose one with features at strides 4, 8, 16 and 32 for images of any size "
                "(resnet18, convnext_tiny, pvt_v2_b0, swin_tiny_patch4_window7_224); plain ViTs "
                "fit network=dpt and network=eomt; backbones that cannot be dilated fit unet, fpn, "
                "upernet, segformer and mask2former"
            ) from error

    def normalisation(self) -> "Normalisation":
        """The mean and standard deviation of the backbone's training images.

        They are ImageNet's where timm does not list any.
        """
        cfg = timm.get_pretrained_cfg(self.name)
        mean = IMAGENET_DEFAULT_MEAN if cfg is None else cfg.mean
        std = IMAGENET_DEFAULT_STD if cfg is None else cfg.std
        if self.in_channels == 1:
            mean = (sum(mean) / 3,)
            std = (sum(std) / 3,)
        return Normalisation(
            _repeat_channels(mean, self.in_channels), _repeat_channels(std, self.in_channels)
        )

    @cached_property
    def _reference(self) -> nn.Module:
        """The whole timm model without memory, for its names, shapes and layers."""
        try:
            with torch.device("meta"):
                model: nn.Module = timm.create_model(self.name)
        except RuntimeError:  # some constructors read values
            model = timm.create_model(self.name)
        return model


def _repeat_channels(values: tuple[float, ...], num_channels: int) -> tuple[float, ...]:
    """Values of a few channels, repeated for more, as timm repeats the weights of the stem."""
    return tuple(values[channel % len(values)] for channel in range(num_channels))


class Normalisation(nn.Module):
    """Normalises images with values 0..255 on the device; saved with the network's weights.

    Args:
        mean: per channel, of images scaled to 0..1.
        std: per channel, of images scaled to 0..1.

    Example:
        >>> import torch
        >>> normalise = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
        >>> normalise(torch.full((1, 3, 2, 2), 255, dtype=torch.uint8))[0, 0, 0]
        tensor([2., 2.])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1) * 255)  # (1, C, 1, 1)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1) * 255)  # (1, C, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, C, H, W) float32.

        Args:
            images: (B, C, H, W) uint8 or float with values 0..255.

        Raises:
            ValueError: the images have another number of channels.
        """
        if images.shape[1] != self.mean.shape[1]:
            raise ValueError(
                f"Expected images of {self.mean.shape[1]} channels, but got {images.shape[1]} - "
                "check encoder.in_channels"
            )
        return (images.float() - self.mean) / self.std
