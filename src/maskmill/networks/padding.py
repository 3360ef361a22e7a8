"""Any image size through networks that want multiples of their stride; shared with the exported program in production."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

Outputs = dict[str, Tensor]
Body = Callable[[Tensor], Outputs]

PER_QUERY = "class_logits"  # outputs whose names end so say something of queries, not of pixels


def at_any_size(body: Body, images: Tensor, stride: int) -> Outputs:
    """Pad right and below with zeros, run the body, crop its outputs.

    Args:
        body: images (B, C, H', W') to maps (..., H'/s, W'/s), where H' and W' are multiples of `stride`, at least two strides, and s is any
            whole number of its own per map; outputs named `PER_QUERY` are no maps.
        images: (B, C, H, W) of any size.
        stride: in pixels.

    Returns:
        the body's maps, each (..., H/s, W/s), rounded up.
    """
    height, width = images.shape[-2:]
    below = max(-height % stride, 2 * stride - height)
    right = max(-width % stride, 2 * stride - width)
    outputs = body(F.pad(images, (0, right, 0, below)))
    return {
        name: output if name.endswith(PER_QUERY) else _crop(output, (height, width), height + below)
        for name, output in outputs.items()
    }


def _crop(output: Tensor, size: tuple[int, int], padded_height: int) -> Tensor:
    step = padded_height // output.shape[-2]
    return output[..., : -(-size[0] // step), : -(-size[1] // step)]
