"""Test-time augmentation: the mean over flipped and scaled views of an image."""

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

from maskmill.postprocess.prediction import Network, Outputs

Y, X = -2, -1  # the axes of maps
OFFSET = "offset"  # (B, 2, H, W), dy dx in px: the one output that points somewhere


class Views:
    """A network averaged over views; logits are averaged, as nnU-Net does (Isensee et al., Nature Methods 2021).

    Args:
        scales: of the image's sides; 1 is its own size.
        horizontal: see each also with left and right exchanged.
        vertical: see each also with top and bottom exchanged.

    Raises:
        ValueError: there is no scale, or one is not positive.
    """

    def __init__(
        self, *, scales: Sequence[float] = (1.0,), horizontal: bool = True, vertical: bool = False
    ) -> None:
        if not scales or not all(scale > 0 for scale in scales):
            raise ValueError(
                f"Expected argument `scales` to hold at least one factor above 0, but got {scales} - mend conf/inference"
            )
        flips = [
            (),
            *([(X,)] if horizontal else []),
            *([(Y,)] if vertical else []),
            *([(Y, X)] if horizontal and vertical else []),
        ]
        self.views = list(product(scales, flips))

    def __call__(self, network: Network) -> Network:
        """The network that answers with the mean of all views; its outputs must be maps, since queries of two views do not correspond."""

        def averaged(images: Tensor) -> Outputs:
            total: dict[str, Tensor] = {}
            for scale, axes in self.views:
                for name, value in seen(network, images, scale, axes).items():
                    total[name] = total[name] + value if name in total else value
            return {name: value / len(self.views) for name, value in total.items()}

        return averaged


def seen(
    network: Network, images: Tensor, scale: float, axes: tuple[int, ...]
) -> dict[str, Tensor]:
    """The outputs for one view, brought back to the image.

    Args:
        network: images to maps.
        images: (B, 3, H, W) uint8.
        scale: of the view's sides.
        axes: along which it is flipped.

    Returns:
        maps (B, ?, H, W) float32.

    Raises:
        ValueError: an output is no map of the view's size.
    """
    size = (images.shape[Y], images.shape[X])
    view_size = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    outputs = network(_resized(images, view_size).flip(axes))
    return {
        name: _back(name, check_map(name, value, view_size), size, axes)
        for name, value in outputs.items()
    }


def check_map(name: str, value: Tensor, size: tuple[int, int]) -> Tensor:
    """An output that must be a map (B, ?, H, W) of this size.

    Raises:
        ValueError: it is not.
    """
    if value.ndim != 4 or value.shape[-2:] != size:
        raise ValueError(
            f"Expected output {name!r} to be a map of {size[0]} x {size[1]} px, but got shape {tuple(value.shape)}, "
            "which cannot be averaged - choose inference=whole or inference=stitched_windows for networks of queries"
        )
    return value


def _resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (B, 3, H, W) uint8 at another size, uint8 again, since an exported program takes nothing else."""
    if images.shape[-2:] == size:
        return images
    return (
        F.interpolate(images.float(), size, mode="bilinear", antialias=True)
        .round()
        .clamp(0, 255)
        .to(images.dtype)
    )


def _back(name: str, value: Tensor, size: tuple[int, int], axes: tuple[int, ...]) -> Tensor:
    """A map of a flipped and scaled view in the image's own pixels; what points along an axis turns and stretches with it."""
    view_size = value.shape[-2:]
    value = value.float().flip(axes)
    if view_size != size:
        value = F.interpolate(value, size, mode="bilinear", align_corners=False)
    if name != OFFSET:
        return value
    signs = [
        size[0] / view_size[0] * (-1 if Y in axes else 1),
        size[1] / view_size[1] * (-1 if X in axes else 1),
    ]
    return value * torch.tensor(signs, device=value.device).view(1, 2, 1, 1)
