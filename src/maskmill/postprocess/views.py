"""Test-time augmentation: the mean over flipped and scaled views of an image.

Tensors and NumPy arrays take the same way. Scales need torch, flips do not.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Annotated, Any

import numpy as np
from annotated_types import Gt, MinLen

from maskmill.postprocess.array_network import ArrayNetwork, MeanOfViews
from maskmill.postprocess.prediction import Network, Size

Maps = Mapping[str, Any]  # tensors or arrays
MapNetwork = Callable[[Any], Maps]  # images (B, 3, H, W) uint8 to maps of the same kind
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
        >>> views = Views(horizontal=True)
        >>> network = views.average(lambda images: {"semantic": images.astype(np.float32)})
        >>> network(np.zeros((1, 3, 8, 8), np.uint8))["semantic"].shape
        (1, 3, 8, 8)
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
        self.needs_torch = any(scale != 1 for scale in scales)

    def __call__(self, network: Network) -> Network:
        """A network that returns the mean over all views.

        Raises:
            ValueError: the network does not give logits, or not in torch where scales need it.
        """
        if isinstance(network, ArrayNetwork) and network.gives_logits and not self.needs_torch:
            return MeanOfViews(network, self.average)
        from maskmill.postprocess.torch_network import TorchNetwork, require_torch

        in_torch = require_torch(network, "views")
        return TorchNetwork(
            self.average(in_torch.tensors),
            device=str(in_torch.device),
            temperature=in_torch.temperature,
        )

    def average(self, network: MapNetwork) -> MapNetwork:
        """A function that returns the mean over all views.

        All outputs must be maps, because queries of different views do not correspond.
        """

        def mean(images: Any) -> Maps:
            total: dict[str, Any] = {}
            for scale, flipped_axes in self.views:
                outputs = predict_view(network, images, scale, flipped_axes)
                for name, value in outputs.items():
                    total[name] = total[name] + value if name in total else value
            return {name: value / len(self.views) for name, value in total.items()}

        return mean


def predict_view(
    network: MapNetwork, images: Any, scale: float, flipped_axes: tuple[int, ...]
) -> dict[str, Any]:
    """The outputs for one view, resized and flipped back to the image.

    Args:
        network: images to maps.
        images: (B, 3, H, W) uint8, a tensor or an array.
        scale: factor of the image's sides; for arrays 1.
        flipped_axes: any of `Y` and `X`.

    Returns:
        maps (B, channels, H, W) float32.

    Raises:
        ValueError: an output is not a map of the view's size.
    """
    height, width = images.shape[-2:]
    view_size = (max(1, round(height * scale)), max(1, round(width * scale)))
    view = _flip(_resize_images(images, view_size), flipped_axes)
    maps = {}
    for name, value in network(view).items():
        check_map(name, value, view_size)
        maps[name] = _undo_view(name, value, (height, width), flipped_axes)
    return maps


def check_map(name: str, value: Any, size: Size) -> None:
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


def _flip(value: Any, axes: tuple[int, ...]) -> Any:
    if isinstance(value, np.ndarray):
        return np.ascontiguousarray(np.flip(value, axes))
    return value.flip(axes)


def _resize_images(images: Any, size: Size) -> Any:
    """Images (B, 3, H, W) uint8 at another size; an exported program accepts uint8 only."""
    if images.shape[-2:] == size:
        return images
    from torch.nn import functional as F

    resized = F.interpolate(images.float(), size, mode="bilinear", antialias=True)
    return resized.round().clamp(0, 255).to(images.dtype)


def _undo_view(name: str, value: Any, size: Size, flipped_axes: tuple[int, ...]) -> Any:
    """Resize and flip a map of a view back to the image; offsets are scaled and mirrored too."""
    view_height, view_width = value.shape[-2:]
    height, width = size
    value = _flip(_as_float32(value), flipped_axes)
    if (view_height, view_width) != size:
        from torch.nn import functional as F

        value = F.interpolate(value, size, mode="bilinear", align_corners=False)
    if name != OFFSET:
        return value
    factor_y = height / view_height * (-1 if Y in flipped_axes else 1)
    factor_x = width / view_width * (-1 if X in flipped_axes else 1)
    return _scale_channels(value, (factor_y, factor_x))


def _as_float32(value: Any) -> Any:
    return value.astype(np.float32) if isinstance(value, np.ndarray) else value.float()


def _scale_channels(value: Any, factors: tuple[float, float]) -> Any:
    """Maps (B, 2, H, W) times a factor for each channel."""
    if isinstance(value, np.ndarray):
        return value * np.array(factors, np.float32).reshape(1, 2, 1, 1)
    import torch

    return value * torch.tensor(factors, device=value.device).view(1, 2, 1, 1)
