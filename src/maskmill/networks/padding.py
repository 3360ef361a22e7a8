"""Lets networks that need multiples of their stride process images of any size.

The exported program in production uses it too.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar, cast

from torch import Tensor
from torch.nn import functional as F

Outputs = dict[str, Tensor]  # of any network; maskmill.networks.outputs lists the keys of each kind
AnyOutputs = TypeVar("AnyOutputs", bound=Mapping[str, object])

PER_QUERY = "class_logits"  # outputs whose names end like this describe queries, not pixels


def at_any_size(body: Callable[[Tensor], AnyOutputs], images: Tensor, stride: int) -> AnyOutputs:
    """Pad images with zeros at the right and bottom, run the body, and crop its outputs.

    Args:
        body: takes images (B, C, H', W'), where H' and W' are multiples of `stride` and at least
            `2 * stride`. Returns maps (..., H'/s, W'/s), where s is a whole number that may differ
            from map to map. Outputs whose names end in `PER_QUERY` are not maps.
        images: (B, C, H, W) of any size.
        stride: in px.

    Returns:
        the body's outputs; each map is (..., H/s, W/s), rounded up.

    Example:
        >>> import torch
        >>> outputs = at_any_size(lambda x: {"semantic": x}, torch.zeros(1, 3, 33, 50), stride=32)
        >>> outputs["semantic"].shape
        torch.Size([1, 3, 33, 50])
    """
    height, width = images.shape[-2:]
    bottom = max(-height % stride, 2 * stride - height)
    right = max(-width % stride, 2 * stride - width)
    outputs = body(F.pad(images, (0, right, 0, bottom)))
    cropped: Outputs = {}
    for name, output in cast(Outputs, outputs).items():
        is_map = not name.endswith(PER_QUERY)
        cropped[name] = _crop(output, (height, width), height + bottom) if is_map else output
    return cast(AnyOutputs, cropped)


def _crop(output: Tensor, size: tuple[int, int], padded_height: int) -> Tensor:
    stride = padded_height // output.shape[-2]
    height = -(-size[0] // stride)
    width = -(-size[1] // stride)
    return output[..., :height, :width]
