"""Encoders: any timm backbone, with the weights and the normalisation that belong to it."""

import difflib
import inspect
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import timm
import torch
from segmentation_models_pytorch.encoders import get_encoder
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import VisionTransformer
from torch import Tensor, nn

from maskmill.networks.layers import Learning, set_learning
from maskmill.networks.weights import check_place, read_weights

SMP_PREFIX = "tu-"  # how segmentation_models_pytorch names a timm backbone
ANY_SIZE = {
    "dynamic_img_size": True,
    "strict_img_size": False,
}  # how timm's plain and its windowed transformers are told to take any size
UNFIT = (
    TypeError,
    ValueError,
    RuntimeError,
    AssertionError,
    IndexError,
    NotImplementedError,
)  # what timm and smp raise, each its own

# It warns of the classifier's head, which a feature extractor leaves out; weights.py has held names and shapes against the model.
logging.getLogger("timm.models._builder").setLevel(logging.ERROR)


class TimmEncoder:
    """Which backbone, with which weights, learning how; networks create their own module from it.

    Args:
        name: of a timm model that gives feature maps, as resnet18, convnext_tiny or swin_tiny_patch4_window7_224.
        pretrained: fetch timm's weights from the hub.
        weights: used instead of the hub: a local state dict of the timm model (.safetensors, or .pth holding tensors only), or the word
            `package` for those that come as a Python package (tf_efficientnet_lite0, lite1, lite2).
        in_channels: of the images. Weights for three are adapted as timm does: summed for one, repeated and scaled for others.
        frozen_stages: so many stages from the input on, the stem being the first, keep their weights and batch norm statistics.
        frozen_batch_norm: every batch norm of the backbone keeps its weights and statistics, as small batches want.
        layer_decay: factor of the learning rate from each layer to the one before it (arXiv:2106.08254, app. H); 1 is the same for all.

    Raises:
        ValueError: timm has no model of this name, both kinds of weights are asked for, no package carries its weights, or a number is
            out of range.
        FileNotFoundError: the weights file is not there.
    """

    def __init__(
        self,
        name: str,
        *,
        pretrained: bool = False,
        weights: Path | None = None,
        in_channels: int = 3,
        frozen_stages: int = 0,
        frozen_batch_norm: bool = False,
        layer_decay: float = 1.0,
    ) -> None:
        if not timm.is_model(name):
            close = difflib.get_close_matches(name, timm.list_models(), n=5)
            raise ValueError(
                f"Expected the name of a timm model, but got {name!r} - did you mean one of {close}?"
            )
        if pretrained and weights is not None:
            raise ValueError(
                f"Expected either `pretrained` or `weights`, but got both (weights {weights}) - set one of them"
            )
        if weights is not None:
            check_place(name, weights)
        if in_channels < 1 or frozen_stages < 0 or not 0 < layer_decay <= 1:
            raise ValueError(
                f"Expected `in_channels` of at least 1, `frozen_stages` of at least 0 and `layer_decay` in (0, 1], "
                f"but got {in_channels}, {frozen_stages} and {layer_decay} - mend conf/encoder"
            )
        self.name, self.pretrained, self.weights, self.in_channels = (
            name,
            pretrained,
            weights,
            in_channels,
        )
        self.learning = Learning(frozen_stages, frozen_batch_norm, layer_decay)

    @property
    def smp_name(self) -> str:
        """The name by which segmentation_models_pytorch knows it."""
        return SMP_PREFIX + self.name

    @property
    def loads(self) -> bool:
        """Whether timm has weights to load."""
        return self.pretrained or self.weights is not None

    def settings(self) -> dict[str, Any]:
        """What timm.create_model is told beside the name and `loads`; segmentation_models_pytorch passes it on."""
        accepted = inspect.signature(type(self._reference).__init__).parameters
        told: dict[str, Any] = {key: value for key, value in ANY_SIZE.items() if key in accepted}
        if self.weights is not None:
            told["pretrained_cfg_overlay"] = {
                "state_dict": read_weights(self.name, self.weights, self._reference)
            }
        return told

    def create(self, *, output_stride: int = 32, depth: int = 5) -> nn.Module:
        """A module giving feature maps at strides 1, 2, 4, ... of `out_channels`; weights are loaded.

        Args:
            output_stride: the coarsest stride; deeper stages are dilated instead of strided.
            depth: number of halvings.

        Raises:
            ValueError: the backbone has no such feature maps.
        """
        settings, weights = self.settings(), True if self.loads else None
        with self.explained(f"output stride {output_stride}"):
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
        """The backbone as a plain ViT without classifier; weights are loaded.

        Args:
            patch_size: in px; weights of another patch are resampled.
            image_size: side in px its position embeddings are resampled to; None leaves them.

        Raises:
            ValueError: it is no plain ViT.
        """
        settings = (
            self.settings()
            | {"patch_size": patch_size}
            | ({} if image_size is None else {"img_size": image_size})
        )
        with self.explained("a network of plain ViTs (eomt)"):
            vit = timm.create_model(
                self.name,
                pretrained=self.loads,
                in_chans=self.in_channels,
                num_classes=0,
                **settings,
            )
            if not isinstance(vit, VisionTransformer):
                raise TypeError(f"it is a {type(vit).__name__}, no VisionTransformer")
        return vit

    def prepare(self, encoder: nn.Module, *, stride: int = 32) -> None:
        """Make an encoder that segmentation_models_pytorch built ready to learn; it is changed in place.

        Args:
            encoder: with the timm model under the name `model`.
            stride: image sides will be multiples of this, two at least.

        Raises:
            ValueError: it does not take images of any size, or has fewer stages than are to be frozen.
        """
        backbone: nn.Module = encoder.model  # type: ignore[assignment] # smp keeps the timm model under this name
        if indices := getattr(
            encoder, "_output_indices", None
        ):  # a whole classifier: what lies above the last feature would never learn
            backbone.prune_intermediate_layers(list(indices), prune_norm=True, prune_head=True)  # type: ignore[operator] # of timm models
        with self.explained(f"images of {2 * stride} x {3 * stride} px"), torch.no_grad():
            encoder.eval()(torch.zeros(1, self.in_channels, 2 * stride, 3 * stride))
        encoder.train()
        set_learning(backbone, self._reference, self.learning)

    @contextmanager
    def explained(self, part: str) -> Iterator[None]:
        """Where timm or segmentation_models_pytorch cannot build a part from this backbone, say what to choose instead."""
        try:
            yield
        except UNFIT as error:
            raise ValueError(
                f"Expected a backbone that fits {part}, but {self.name} does not: {error} - choose one with features at strides 4, 8, 16 "
                "and 32 for images of any size (resnet18, convnext_tiny, pvt_v2_b0, swin_tiny_patch4_window7_224); plain ViTs fit "
                "network=dpt and network=eomt; backbones that cannot be dilated fit unet, fpn, upernet, segformer and mask2former"
            ) from error

    def normalisation(self) -> "Normalisation":
        """The mean and standard deviation the backbone was trained with, ImageNet's where timm names none."""
        cfg = timm.get_pretrained_cfg(self.name)
        mean, std = (
            (cfg.mean, cfg.std)
            if cfg is not None
            else (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
        )
        if self.in_channels == 1:
            mean, std = (sum(mean) / 3,), (sum(std) / 3,)
        places = [
            channel % len(mean) for channel in range(self.in_channels)
        ]  # as timm repeats the stem's weights
        return Normalisation(
            tuple(mean[place] for place in places), tuple(std[place] for place in places)
        )

    @cached_property
    def _reference(self) -> nn.Module:
        """The whole timm model without memory: its names, shapes and layers."""
        try:
            with torch.device("meta"):
                model: nn.Module = timm.create_model(self.name)
        except (RuntimeError, NotImplementedError):  # some constructors look at values
            model = timm.create_model(self.name)
        return model


class Normalisation(nn.Module):
    """Images of 0..255 to what an encoder expects, on the device; the numbers travel with the network's weights.

    Args:
        mean: per channel, of images scaled to 0..1.
        std: per channel, of images scaled to 0..1.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1) * 255)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) uint8 or float to float32 of about zero mean and unit deviation.

        Raises:
            ValueError: the images have another number of channels.
        """
        if images.shape[1] != self.mean.shape[1]:
            raise ValueError(
                f"Expected images of {self.mean.shape[1]} channels, but got {images.shape[1]} - mend encoder.in_channels"
            )
        return (images.float() - self.mean) / self.std
