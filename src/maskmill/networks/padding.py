"""Any image size through networks that want multiples of their stride; shared with the exported program in production."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

Outputs = dict[str, Tensor]
Body = Callable[[Tensor], Outputs]


def at_any_size(body: Body, images: Tensor, stride: int) -> Outputs:
    """Pad right and below with zeros, run the body, crop its outputs.

    Args:
        body: images (B, C, H', W') to maps (B, ?, H', W'), where H' and W' are multiples of `stride`, at least two strides.
        images: (B, C, H, W) of any size.
        stride: in pixels.

    Returns:
        the body's maps, each (B, ?, H, W).
    """
    height, width = images.shape[-2:]
    below = max(-height % stride, 2 * stride - height)
    right = max(-width % stride, 2 * stride - width)
    outputs = body(F.pad(images, (0, right, 0, below)))
    return {name: output[..., :height, :width] for name, output in outputs.items()}
