"""Lets networks that need multiples of their stride process images of any size.

The exported networks in production use it too, and those in ONNX without torch: it is imported only
for tensors.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Outputs = dict[str, "Tensor"]  # of any network; maskmill.networks.outputs lists the keys per kind
Images = TypeVar("Images")  # a tensor or an array
AnyOutputs = TypeVar("AnyOutputs", bound=Mapping[str, object])

PER_QUERY = "class_logits"  # outputs whose names end like this describe queries, not pixels


def at_any_size(body: Callable[[Images], AnyOutputs], images: Images, stride: int) -> AnyOutputs:
    """Pad images with zeros at the right and bottom, run the body, and crop its outputs.

    Args:
        body: takes images (B, C, H', W'), where H' and W' are multiples of `stride` and at least
            `2 * stride`. Returns maps (..., H'/s, W'/s), where s is a whole number that may differ
            from map to map. Outputs whose names end in `PER_QUERY` are not maps.
        images: (B, C, H, W) of any size, a tensor or an array.
        stride: in px.

    Returns:
        the body's outputs; each map is (..., H/s, W/s), rounded up.

    Example:
        >>> outputs = at_any_size(lambda x: {"semantic": x}, np.zeros((1, 3, 33, 50)), stride=32)
        >>> outputs["semantic"].shape
        (1, 3, 33, 50)
    """
    height, width = cast(Any, images).shape[-2:]
    return at_size(body, images, (_padded(height, stride), _padded(width, stride)))


def _padded(side: int, stride: int) -> int:
    # `-side % stride` is shorter, but torch.compile fails on the remainder of a negative size.
    num_strides = (side + stride - 1) // stride
    return max(num_strides, 2) * stride


def at_size(
    body: Callable[[Images], AnyOutputs], images: Images, size: tuple[int, int]
) -> AnyOutputs:
    """Pad images with zeros at the right and bottom to one size, run the body, crop its outputs.

    Args:
        body: takes images of that size, see `at_any_size`.
        images: (B, C, H, W), not larger.
        size: height and width, multiples of the body's stride.
    """
    height, width = cast(Any, images).shape[-2:]
    outputs = body(_pad(images, size[0] - height, size[1] - width))
    cropped: dict[str, Any] = {}
    for name, output in outputs.items():
        is_map = not name.endswith(PER_QUERY)
        cropped[name] = _crop(output, (height, width), size[0]) if is_map else output
    return cast(AnyOutputs, cropped)


def _pad(images: Any, bottom: int, right: int) -> Any:
    if isinstance(images, np.ndarray):
        return np.pad(images, ((0, 0), (0, 0), (0, bottom), (0, right)))
    from torch.nn import functional as F

    return F.pad(images, (0, right, 0, bottom))


def _crop(output: Any, size: tuple[int, int], padded_height: int) -> Any:
    stride = padded_height // output.shape[-2]
    height = -(-size[0] // stride)
    width = -(-size[1] // stride)
    return output[..., :height, :width]
