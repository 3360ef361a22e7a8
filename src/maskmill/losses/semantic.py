"""Losses over class logits; pixels of `IGNORE_INDEX` never count."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskmill.canonical.categories import IGNORE_INDEX

Batch = Mapping[str, Tensor]
Terms = dict[str, Tensor]


class CrossEntropy(nn.Module):
    """Cross-entropy over pixels, optionally over the hardest of them only.

    Args:
        weight: factor of the term.
        label_smoothing: share of the target spread over all classes (Szegedy et al., arXiv:1512.00567), 0..1.
        hardest: share of the labelled pixels that count, those with the largest loss (DeeperLab, arXiv:1902.05093, sec. 3.2); 1 is all.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, weight: float = 1.0, *, label_smoothing: float = 0.0, hardest: float = 1.0) -> None:
        super().__init__()
        if not (weight >= 0 and 0 <= label_smoothing < 1 and 0 < hardest <= 1):
            raise ValueError(
                f"Expected `weight` of at least 0, `label_smoothing` in [0, 1) and `hardest` in (0, 1], "
                f"but got {weight}, {label_smoothing} and {hardest} - mend conf/loss"
            )
        self.weight, self.label_smoothing, self.hardest = weight, label_smoothing, hardest

    def forward(self, outputs: Mapping[str, Tensor], batch: Batch) -> Terms:
        """Logits (B, K, H, W) against `semantic` (B, H, W) uint8: one scalar, 0 where no pixel is labelled."""
        target = batch["semantic"].long()
        loss = F.cross_entropy(
            outputs["semantic"].float(), target, ignore_index=IGNORE_INDEX, reduction="none", label_smoothing=self.label_smoothing
        )  # (B, H, W), 0 where ignored
        num_labelled = int((target != IGNORE_INDEX).sum()) if self.hardest < 1 else 0
        if self.hardest < 1:
            counted = max(1, round(self.hardest * num_labelled))
            return {"cross_entropy": self.weight * loss.flatten().topk(counted).values.mean()}
        return {"cross_entropy": self.weight * loss.sum() / (target != IGNORE_INDEX).sum().clamp(min=1)}


class Dice(nn.Module):
    """One minus the soft Dice coefficient, averaged over the classes present in the batch (Milletari et al., arXiv:1606.04797).

    Args:
        weight: factor of the term.

    Raises:
        ValueError: a negative weight.
    """

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        if weight < 0:
            raise ValueError(f"Expected argument `weight` of at least 0, but got {weight}")
        self.weight = weight

    def forward(self, outputs: Mapping[str, Tensor], batch: Batch) -> Terms:
        """Logits (B, K, H, W) against `semantic` (B, H, W) uint8: one scalar, 0 where no pixel is labelled."""
        target = batch["semantic"].long()
        labelled = (target != IGNORE_INDEX).unsqueeze(1)  # (B, 1, H, W)
        probs = outputs["semantic"].float().softmax(dim=1) * labelled  # (B, K, H, W)
        one_hot = torch.zeros_like(probs).scatter_(1, target.unsqueeze(1) * labelled, 1.0) * labelled
        overlap, total = (probs * one_hot).sum(dim=(0, 2, 3)), (probs + one_hot).sum(dim=(0, 2, 3))  # (K,)
        present = one_hot.sum(dim=(0, 2, 3)) > 0
        dice = 2 * overlap / total.clamp(min=1e-6)
        return {"dice": self.weight * ((1 - dice) * present).sum() / present.sum().clamp(min=1)}


class Sum(nn.Module):
    """Several losses at once; the terms of each keep their names.

    Args:
        losses: whose terms are named differently.
    """

    def __init__(self, losses: list[nn.Module]) -> None:
        super().__init__()
        self.losses = nn.ModuleList(losses)

    def forward(self, outputs: Mapping[str, Tensor], batch: Batch) -> Terms:
        """All terms of all losses."""
        terms: Terms = {}
        for loss in self.losses:
            terms |= loss(outputs, batch)
        return terms
