"""Masks at points instead of pixels (Kirillov et al., PointRend, CVPR 2020, arXiv:1912.08193).

A point is (x, y) in 0..1, from the left and from the top of the image.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

OVERSAMPLE = 3  # candidates per sampled point (sec. 3.1)
IMPORTANT = 0.75  # fraction of the points taken where the mask is most uncertain (sec. 3.1)


def logits_at(logits: Tensor, points: Tensor) -> Tensor:
    """Interpolate maps (M, C, h, w) bilinearly at points (M, P, 2): (M, C, P)."""
    grid = (2 * points - 1)[:, :, None]  # (M, P, 1, 2) in -1..1
    return F.grid_sample(logits, grid, mode="bilinear", align_corners=False)[..., 0]


def labels_at(maps: Tensor, image: Tensor, points: Tensor) -> Tensor:
    """Read the labels of the pixels that contain points, without making a mask per segment.

    Args:
        maps: labels (B, H, W).
        image: (M,), the image of each row of points.
        points: (M, P, 2).

    Returns:
        (M, P).
    """
    height, width = maps.shape[1:]
    x = (points[..., 0] * width).long().clamp(max=width - 1)
    y = (points[..., 1] * height).long().clamp(max=height - 1)
    return maps[image[:, None], y, x]


def uncertain_points(
    logits: Tensor,
    maps: Tensor,
    image: Tensor,
    *,
    num: int,
    void: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Sample points of each mask, most where it is most uncertain, the rest uniformly.

    The uncertain points avoid pixels without a label.

    Args:
        logits: (M, h, w).
        maps: labels (B, H, W).
        image: (M,), the image of each mask.
        num: P, points per mask.
        void: the label of pixels that must not be learned from.
        generator: generator of the random points; None is torch's default.

    Returns:
        (M, P, 2) in 0..1.
    """
    device = logits.device
    candidates = torch.rand(len(logits), OVERSAMPLE * num, 2, device=device, generator=generator)
    uncertainty = -logits_at(logits[:, None], candidates)[:, 0].abs()  # (M, 3 P)
    is_void = labels_at(maps, image, candidates) == void
    uncertainty = uncertainty.masked_fill(is_void, -torch.inf)
    num_important = int(IMPORTANT * num)
    chosen = uncertainty.topk(num_important, dim=1).indices
    important = candidates.gather(1, chosen[..., None].expand(-1, -1, 2))
    rest = torch.rand(len(logits), num - num_important, 2, device=device, generator=generator)
    return torch.cat([important, rest], dim=1)
