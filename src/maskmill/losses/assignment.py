"""One-to-one assignment of queries to segments with the lowest total cost.

Carion et al., DETR (arXiv:2005.12872), sec. 3.1.
"""

from collections.abc import Mapping

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

# Replaces costs that are not finite: the assignment refuses NaN, and the loss will show it.
VERY_LARGE = 1e6


def match(
    class_logits: Tensor,
    mask_logits: Tensor,
    inside: Tensor,
    counted: Tensor,
    classes: Tensor,
    weights: Mapping[str, float],
) -> tuple[Tensor, Tensor, Tensor]:
    """Find the pairs of lowest total cost in each image.

    The costs of the whole batch are computed on its device, the assignment on the CPU.

    Args:
        class_logits: (B, Q, K + 1).
        mask_logits: (B, Q, P) at points.
        inside: (B, N, P), 1 where a point is inside a segment.
        counted: (B, P) bool, False at void.
        classes: (B, N), -1 where there is no segment.
        weights: weights of `class`, `mask` and `dice`.

    Returns:
        the image, query and segment of each pair: three (M,) long on the device. If an image has
        more segments than queries, some segments have no pair.
    """
    with torch.autocast(mask_logits.device.type, enabled=False):  # 16-bit sums would overflow
        cost = matching_cost(class_logits, mask_logits, inside, counted, classes, weights)
    finite_cost = torch.nan_to_num(cost, nan=VERY_LARGE, posinf=VERY_LARGE, neginf=-VERY_LARGE)
    cost_on_cpu = finite_cost.cpu().numpy()  # the only synchronisation with the device
    num_segments = (classes >= 0).sum(dim=1).tolist()
    pairs = [np.zeros((3, 0), np.int64)]
    for index, image_cost in enumerate(cost_on_cpu):
        query, segment = linear_sum_assignment(image_cost[:, : num_segments[index]])
        pairs.append(np.stack([np.full(len(query), index), query, segment]))
    matched = torch.from_numpy(np.concatenate(pairs, axis=1)).to(cost.device)  # (3, M)
    return matched[0], matched[1], matched[2]


def matching_cost(
    class_logits: Tensor,
    mask_logits: Tensor,
    inside: Tensor,
    counted: Tensor,
    classes: Tensor,
    weights: Mapping[str, float],
) -> Tensor:
    """The cost of each pair: mask cross-entropy plus Dice minus the probability of the class.

    Args:
        class_logits: (B, Q, K + 1).
        mask_logits: (B, Q, P) at points.
        inside: (B, N, P), 1 where a point is inside a segment.
        counted: (B, P) bool, False at void.
        classes: (B, N), -1 where there is no segment.
        weights: weights of `class`, `mask` and `dice`.

    Returns:
        (B, Q, N).
    """
    counted = counted.float()[:, None]  # (B, 1, P)
    num_counted = counted.sum(dim=2, keepdim=True).clamp(min=1)  # (B, 1, 1)
    # The cross-entropy of each point, if it is inside and if it is outside: (B, Q, P).
    loss_inside = F.softplus(-mask_logits) * counted
    loss_outside = F.softplus(mask_logits) * counted
    difference = torch.einsum("bqp,bnp->bqn", loss_inside - loss_outside, inside)
    mask_cost = (loss_outside.sum(dim=2, keepdim=True) + difference) / num_counted  # (B, Q, N)
    probs = mask_logits.sigmoid() * counted
    overlap = torch.einsum("bqp,bnp->bqn", probs, inside)
    total = probs.sum(dim=2)[:, :, None] + inside.sum(dim=2)[:, None]
    dice_cost = 1 - (2 * overlap + 1) / (total + 1)
    num_queries = class_logits.shape[1]
    class_index = classes.clamp(min=0)[:, None].expand(-1, num_queries, -1)
    class_probs = class_logits.softmax(dim=2).gather(2, class_index)  # (B, Q, N)
    weighted_masks = weights["mask"] * mask_cost + weights["dice"] * dice_cost
    return weighted_masks - weights["class"] * class_probs
