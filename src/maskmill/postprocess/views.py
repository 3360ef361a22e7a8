"""Test-time augmentation: the mean over flipped and scaled views of an image.

Tensors and NumPy arrays take the same way. Scales need torch, flips do not.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Annotated

import numpy as np
from annotated_types import Interval, Len

from maskmill.postprocess.array_network import ArrayNetwork, MeanOfViews
from maskmill.postprocess.either import Either, as_float32, at, flip
from maskmill.postprocess.prediction import Network, Size

if TYPE_CHECKING:
    from maskmill.postprocess.torch_network import TorchNetwork

Maps = Mapping[str, Either]
MapNetwork = Callable[[Either], Maps]  # images (B, 3, H, W) uint8 to maps of the same kind
Scale = Annotated[float, Interval(gt=0, le=4)]
Y = -2  # axes of maps
X = -1
OFFSET = "offset"  # (B, 2, H, W), (dy, dx) in px: the only output with a direction


class Views:
    """Averages the outputs of a network over views of its images.

    Logits are averaged, as in nnU-Net (Isensee et al., Nature Methods 2021).

    Args:
        scales: factors of the image's sides, at most 4; 1 is its own size. They are bounded, since
            a model file may name them.
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
        scales: Annotated[Sequence[Scale], Len(1, 16)] = (1.0,),
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
        with_logits = require_logits(network, "views")
        if isinstance(with_logits, ArrayNetwork):
            return self._of_arrays(with_logits)
        from maskmill.postprocess.torch_network import TorchNetwork

        return TorchNetwork(
            self.average(with_logits.tensors),
            device=str(with_logits.device),
            temperature=with_logits.temperature,
        )

    def _of_arrays(self, network: ArrayNetwork) -> MeanOfViews:
        if self.needs_torch:
            raise ValueError(
                "views.scales: expected a network in torch, which scales images, but got "
                f"{type(network).__name__} - either set predict.runtime=auto or scales=[1.0]"
            )
        return MeanOfViews(network, self.average)

    def average(self, network: MapNetwork) -> MapNetwork:
        """A function that returns the mean over all views.

        All outputs must be maps, because queries of different views do not correspond.
        """

        def mean(images: Either) -> Maps:
            total: dict[str, Either] = {}
            for scale, flipped_axes in self.views:
                outputs = predict_view(network, images, scale, flipped_axes)
                for name, value in outputs.items():
                    total[name] = total[name] + value if name in total else value
            return {name: value / len(self.views) for name, value in total.items()}

        return mean


def require_logits(network: Network, purpose: str) -> "ArrayNetwork | TorchNetwork":
    """The network, if it gives class logits that can be averaged.

    Raises:
        ValueError: it gives classes only.
    """
    if isinstance(network, ArrayNetwork):
        if network.gives_logits:
            return network
    else:
        from maskmill.postprocess.torch_network import TorchNetwork

        if isinstance(network, TorchNetwork):
            return network
    raise ValueError(
        f"{purpose}: expected a network whose logits can be averaged, but {type(network).__name__} "
        "gives classes - either set predict.runtime=auto or inference=auto"
    )


def predict_view(
    network: MapNetwork, images: Either, scale: float, flipped_axes: tuple[int, ...]
) -> dict[str, Either]:
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
    view = flip(_resize_images(images, view_size), flipped_axes)
    maps = {}
    for name, value in network(view).items():
        check_map(name, value, view_size)
        maps[name] = _undo_view(name, value, (height, width), flipped_axes)
    return maps


def check_map(name: str, value: Either, size: Size) -> None:
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


def _resize_images(images: Either, size: Size) -> Either:
    """Images (B, 3, H, W) uint8 at another size; an exported program accepts uint8 only."""
    if images.shape[-2:] == size:
        return images
    from torch.nn import functional as F

    resized = F.interpolate(images.float(), size, mode="bilinear", antialias=True)
    return resized.round().clamp(0, 255).to(images.dtype)


def _undo_view(name: str, value: Either, size: Size, flipped_axes: tuple[int, ...]) -> Either:
    """Resize and flip a map of a view back to the image; offsets are scaled and mirrored too."""
    view_height, view_width = value.shape[-2:]
    height, width = size
    value = flip(as_float32(value), flipped_axes)
    if (view_height, view_width) != size:
        from torch.nn import functional as F

        value = F.interpolate(value, size, mode="bilinear", align_corners=False)
    if name != OFFSET:
        return value
    factor_y = height / view_height * (-1 if Y in flipped_axes else 1)
    factor_x = width / view_width * (-1 if X in flipped_axes else 1)
    factors = np.array([factor_y, factor_x], np.float32).reshape(1, 2, 1, 1)
    return value * at(factors, value)
