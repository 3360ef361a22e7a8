"""Queries to segments, one to one, at the least total cost (Carion et al., DETR, arXiv:2005.12872, sec. 3.1)."""

from collections.abc import Mapping

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

IMPOSSIBLE = (
    1e6  # a cost for what is not finite: the assignment refuses NaN, and the loss will show it
)


def match(
    class_logits: Tensor,
    mask_logits: Tensor,
    inside: Tensor,
    counted: Tensor,
    classes: Tensor,
    weights: Mapping[str, float],
) -> tuple[Tensor, Tensor, Tensor]:
    """The pairs of least cost in each image; costs are computed for the whole batch on its device and assigned on the CPU.

    Args:
        class_logits: (B, Q, K + 1).
        mask_logits: (B, Q, P) at points.
        inside: (B, N, P), 1 where a point lies in a segment.
        counted: (B, P) bool, False at void.
        classes: (B, N), -1 where there is no segment.
        weights: of `class`, `mask` and `dice`.

    Returns:
        image, query and segment of each pair: three (M,) on the device. Where an image has more segments than queries, some have none.
    """
    cost = matching_cost(class_logits, mask_logits, inside, counted, classes, weights)
    numbers = (
        torch.nan_to_num(cost, nan=IMPOSSIBLE, posinf=IMPOSSIBLE, neginf=-IMPOSSIBLE).cpu().numpy()
    )  # the one wait for the device
    num_segments = (classes >= 0).sum(dim=1).tolist()
    pairs = [
        linear_sum_assignment(image[:, :num])
        for image, num in zip(numbers, num_segments, strict=True)
    ]
    image = np.repeat(np.arange(len(pairs)), [len(query) for query, _ in pairs])
    query, segment = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
    made = torch.from_numpy(np.stack([image, query, segment]).astype(np.int64)).to(cost.device)
    return made[0], made[1], made[2]


def matching_cost(
    class_logits: Tensor,
    mask_logits: Tensor,
    inside: Tensor,
    counted: Tensor,
    classes: Tensor,
    weights: Mapping[str, float],
) -> Tensor:
    """Minus the probability of the class, plus cross-entropy and Dice of the masks at the points that count: (B, Q, N)."""
    counted = counted.float()[:, None]  # (B, 1, P)
    num = counted.sum(dim=2, keepdim=True).clamp(min=1)  # (B, 1, 1)
    on, off = (
        F.softplus(-mask_logits) * counted,
        F.softplus(mask_logits) * counted,
    )  # what each point costs as inside, as outside: (B, Q, P)
    mask = (
        off.sum(dim=2, keepdim=True) + torch.einsum("bqp,bnp->bqn", on - off, inside)
    ) / num  # (B, Q, N)
    probs = mask_logits.sigmoid() * counted
    both = torch.einsum("bqp,bnp->bqn", probs, inside)
    dice = 1 - (2 * both + 1) / (probs.sum(dim=2)[:, :, None] + inside.sum(dim=2)[:, None] + 1)
    queries = class_logits.shape[1]
    likely = class_logits.softmax(dim=2).gather(
        2, classes.clamp(min=0)[:, None].expand(-1, queries, -1)
    )  # (B, Q, N)
    return weights["mask"] * mask + weights["dice"] * dice - weights["class"] * likely
