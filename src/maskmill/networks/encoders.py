"""Encoders: any timm backbone, with the weights and the normalisation that belong to it."""

import difflib
import pickle
from pathlib import Path

import safetensors.torch
import timm
import torch
from segmentation_models_pytorch.encoders import get_encoder
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn

SMP_PREFIX = "tu-"  # how segmentation_models_pytorch names a timm backbone


class TimmEncoder:
    """Which backbone, with which weights; networks create their own module from it.

    Args:
        name: of a timm model that gives feature maps, as resnet18 or convnext_tiny.
        pretrained: fetch timm's weights from the hub.
        weights: a local state dict of the timm model (.safetensors, or .pth holding tensors only), used instead of the hub.

    Raises:
        ValueError: timm has no model of this name, or both kinds of weights are asked for.
        FileNotFoundError: the weights file is not there.
    """

    def __init__(self, name: str, *, pretrained: bool = False, weights: Path | None = None) -> None:
        if not timm.is_model(name):
            close = difflib.get_close_matches(name, timm.list_models(), n=5)
            raise ValueError(f"Expected the name of a timm model, but got {name!r} - did you mean one of {close}?")
        if pretrained and weights is not None:
            raise ValueError(f"Expected either `pretrained` or `weights`, but got both (weights {weights}) - set one of them")
        if weights is not None and not weights.is_file():
            raise FileNotFoundError(f"{weights}: expected encoder weights here, but there is no such file - mend encoder.weights")
        self.name, self.pretrained, self.weights = name, pretrained, weights

    @property
    def smp_name(self) -> str:
        """The name by which segmentation_models_pytorch knows it."""
        return SMP_PREFIX + self.name

    def create(self, *, output_stride: int = 32, depth: int = 5) -> nn.Module:
        """A module giving feature maps at strides 1, 2, 4, ... of `out_channels`; weights are loaded.

        Args:
            output_stride: the coarsest stride; deeper stages are dilated instead of strided.
            depth: number of halvings.
        """
        encoder: nn.Module = get_encoder(self.smp_name, in_channels=3, depth=depth, weights=self._hub(), output_stride=output_stride)
        self.load_into(encoder)
        return encoder

    def load_into(self, encoder: nn.Module) -> None:
        """Load the local weights, if any, into an encoder module that segmentation_models_pytorch made.

        Raises:
            ValueError: the file is no state dict, or lacks tensors the encoder has or holds them in other shapes.
        """
        if self.weights is None:
            return
        state = _read_state(self.weights)
        backbone: nn.Module = encoder.model  # type: ignore[assignment] # smp keeps the timm model under this name
        wanted = backbone.state_dict()
        unfit = [name for name, value in wanted.items() if name not in state or state[name].shape != value.shape]
        if unfit:
            raise ValueError(
                f"{self.weights}: expected weights of {self.name}, but {unfit[:3]} are not in it or of other shapes - choose another file"
            )
        backbone.load_state_dict({name: state[name] for name in wanted})  # the classifier, which a feature extractor lacks, stays behind

    def normalisation(self) -> "Normalisation":
        """The mean and standard deviation the backbone was trained with, ImageNet's where timm names none."""
        cfg = timm.get_pretrained_cfg(self.name)
        mean, std = (cfg.mean, cfg.std) if cfg is not None else (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
        return Normalisation(mean, std)

    def _hub(self) -> str | None:
        return "imagenet" if self.pretrained else None


def _read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file; nothing in it is executed."""
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, safetensors.SafetensorError, RuntimeError, EOFError) as error:
        raise ValueError(
            f"{path}: expected a state dict of tensors, but it does not load as one - save the model's state_dict()"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path}: expected a state dict of tensors, but got a {type(state).__name__} of others - save its state_dict()")
    return state


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
        """(B, C, H, W) uint8 or float to float32 of about zero mean and unit deviation."""
        return (images.float() - self.mean) / self.std
