"""Test-time augmentation: the mean over flipped and scaled views of an image."""

from collections.abc import Sequence
from itertools import product
from typing import Annotated

import torch
from annotated_types import Gt, MinLen
from torch import Tensor
from torch.nn import functional as F

from maskmill.postprocess.prediction import Network, Size
from maskmill.postprocess.torch_network import (
    TensorNetwork,
    Tensors,
    TorchNetwork,
    require_torch,
)

Y = -2  # axes of maps
X = -1
OFFSET = "offset"  # (B, 2, H, W), (dy, dx) in px: the only output with a direction


class Views:
    """Averages the outputs of a network over views of its images.

    Logits are averaged, as in nnU-Net (Isensee et al., Nature Methods 2021).

    Args:
        scales: factors of the image's sides; 1 is its own size.
        horizontal: add a view of each scale with left and right swapped.
        vertical: add a view of each scale with top and bottom swapped.

    Example:
        >>> views = Views(scales=[1.0, 2.0], horizontal=True)
        >>> network = views.average(lambda images: {"semantic": images.float()})
        >>> network(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))["semantic"].shape
        torch.Size([1, 3, 8, 8])
    """

    def __init__(
        self,
        *,
        scales: Annotated[Sequence[Annotated[float, Gt(0)]], MinLen(1)] = (1.0,),
        horizontal: bool = True,
        vertical: bool = False,
    ) -> None:
        flips: list[tuple[int, ...]] = [()]
        if horizontal:
            flips.append((X,))
        if vertical:
            flips.append((Y,))
        if horizontal and vertical:
            flips.append((Y, X))
        self.views = list(product(scales, flips))

    def __call__(self, network: Network) -> TorchNetwork:
        """A network that returns the mean over all views.

        Raises:
            ValueError: the network is no `TorchNetwork`.
        """
        in_torch = require_torch(network, "views")
        return TorchNetwork(
            self.average(in_torch.tensors),
            device=str(in_torch.device),
            temperature=in_torch.temperature,
        )

    def average(self, network: TensorNetwork) -> TensorNetwork:
        """A function of tensors that returns the mean over all views.

        All outputs must be maps, because queries of different views do not correspond.
        """

        def mean(images: Tensor) -> Tensors:
            total: dict[str, Tensor] = {}
            for scale, flipped_axes in self.views:
                outputs = predict_view(network, images, scale, flipped_axes)
                for name, value in outputs.items():
                    total[name] = total[name] + value if name in total else value
            return {name: value / len(self.views) for name, value in total.items()}

        return mean


def predict_view(
    network: TensorNetwork, images: Tensor, scale: float, flipped_axes: tuple[int, ...]
) -> dict[str, Tensor]:
    """The outputs for one view, resized and flipped back to the image.

    Args:
        network: images to maps.
        images: (B, 3, H, W) uint8.
        scale: factor of the image's sides.
        flipped_axes: any of `Y` and `X`.

    Returns:
        maps (B, channels, H, W) float32.

    Raises:
        ValueError: an output is not a map of the view's size.
    """
    height, width = images.shape[-2:]
    view_size = (max(1, round(height * scale)), max(1, round(width * scale)))
    view = _resize_images(images, view_size).flip(flipped_axes)
    maps = {}
    for name, value in network(view).items():
        check_map(name, value, view_size)
        maps[name] = _undo_view(name, value, (height, width), flipped_axes)
    return maps


def check_map(name: str, value: Tensor, size: Size) -> None:
    """Check that an output is a map (B, channels, H, W) of this size.

    Raises:
        ValueError: it is not.
    """
    if value.ndim != 4 or value.shape[-2:] != size:
        raise ValueError(
            f"Expected output {name!r} to be a map of {size[0]} x {size[1]} px, "
            f"but got shape {tuple(value.shape)}, which cannot be averaged - "
            "choose either inference=whole or inference=stitched_windows for networks of queries"
        )


def _resize_images(images: Tensor, size: Size) -> Tensor:
    """Images (B, 3, H, W) uint8 at another size; an exported program accepts uint8 only."""
    if images.shape[-2:] == size:
        return images
    resized = F.interpolate(images.float(), size, mode="bilinear", antialias=True)
    return resized.round().clamp(0, 255).to(images.dtype)


def _undo_view(name: str, value: Tensor, size: Size, flipped_axes: tuple[int, ...]) -> Tensor:
    """Resize and flip a map of a view back to the image; offsets are scaled and mirrored too."""
    view_height, view_width = value.shape[-2:]
    height, width = size
    value = value.float().flip(flipped_axes)
    if (view_height, view_width) != size:
        value = F.interpolate(value, size, mode="bilinear", align_corners=False)
    if name != OFFSET:
        return value
    factor_y = height / view_height * (-1 if Y in flipped_axes else 1)
    factor_x = width / view_width * (-1 if X in flipped_axes else 1)
    factors = torch.tensor([factor_y, factor_x], device=value.device)
    return value * factors.view(1, 2, 1, 1)
