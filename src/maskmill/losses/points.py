"""Masks at points instead of pixels (Kirillov et al., PointRend, CVPR 2020, arXiv:1912.08193); places are x, y in 0..1."""

import torch
from torch import Tensor
from torch.nn import functional as F

OVERSAMPLE, IMPORTANT = (
    3,
    0.75,
)  # looked at per point taken, and the share taken where the mask is least certain (sec. 3.1)


def logits_at(logits: Tensor, points: Tensor) -> Tensor:
    """Maps (M, C, h, w) between their pixels, bilinearly, at points (M, P, 2): (M, C, P)."""
    return F.grid_sample(
        logits, (2 * points - 1)[:, :, None], mode="bilinear", align_corners=False
    )[..., 0]


def labels_at(maps: Tensor, image: Tensor, points: Tensor) -> Tensor:
    """Labels (B, H, W) of the images (M,) in the pixels where points (M, P, 2) lie: (M, P). No mask is ever made of a segment."""
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
    """Points of each mask, most of them where it is least certain, the rest anywhere; none by choice where nothing is labelled.

    Args:
        logits: (M, h, w).
        maps: labels (B, H, W).
        image: (M,), the image each mask is of.
        num: P, points per mask.
        void: the label of pixels that must not be learned from.
        generator: of the random places; None is torch's own.

    Returns:
        (M, P, 2) in 0..1.
    """
    many = torch.rand(len(logits), OVERSAMPLE * num, 2, device=logits.device, generator=generator)
    doubt = -logits_at(logits[:, None], many)[:, 0].abs()  # (M, 3 P)
    doubt = doubt.masked_fill(labels_at(maps, image, many) == void, -torch.inf)
    important = int(IMPORTANT * num)
    chosen = doubt.topk(important, dim=1).indices
    rest = torch.rand(len(logits), num - important, 2, device=logits.device, generator=generator)
    return torch.cat([many.gather(1, chosen[..., None].expand(-1, -1, 2)), rest], dim=1)
