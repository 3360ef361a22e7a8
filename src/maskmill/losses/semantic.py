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
        class_weights: a factor for each class's pixels, in the order of the category table; None is 1 for all.

    Raises:
        ValueError: an argument is out of range.
    """

    class_weights: Tensor | None

    def __init__(
        self, weight: float = 1.0, *, label_smoothing: float = 0.0, hardest: float = 1.0, class_weights: list[float] | None = None
    ) -> None:
        super().__init__()
        if not (weight >= 0 and 0 <= label_smoothing < 1 and 0 < hardest <= 1):
            raise ValueError(
                f"Expected `weight` of at least 0, `label_smoothing` in [0, 1) and `hardest` in (0, 1], "
                f"but got {weight}, {label_smoothing} and {hardest} - mend conf/loss"
            )
        if class_weights is not None and not all(factor >= 0 for factor in class_weights):
            raise ValueError(f"Expected `class_weights` of at least 0, but got {class_weights} - mend conf/loss")
        self.weight, self.label_smoothing, self.hardest = weight, label_smoothing, hardest
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)  # configuration, not state

    def forward(self, outputs: Mapping[str, Tensor], batch: Batch) -> Terms:
        """Logits (B, K, H, W) against `semantic` (B, H, W) uint8: one scalar, 0 where no pixel is labelled."""
        logits, target = outputs["semantic"].float(), batch["semantic"].long()
        self._validate(logits.shape[1])
        loss = F.cross_entropy(
            logits, target, self.class_weights, ignore_index=IGNORE_INDEX, reduction="none", label_smoothing=self.label_smoothing
        )  # (B, H, W), 0 where ignored
        labelled = target != IGNORE_INDEX
        if self.hardest < 1:
            counted = max(1, round(self.hardest * int(labelled.sum())))
            return {"cross_entropy": self.weight * loss.flatten().topk(counted).values.mean()}
        share = labelled if self.class_weights is None else self.class_weights[target * labelled] * labelled
        return {"cross_entropy": self.weight * loss.sum() / share.sum().clamp(min=1e-6)}

    def _validate(self, num_classes: int) -> None:
        if self.class_weights is not None and len(self.class_weights) != num_classes:
            raise ValueError(
                f"Expected one weight for each of {num_classes} classes, but got {len(self.class_weights)} - mend loss.class_weights"
            )


class Dice(nn.Module):
    """One minus the soft Dice coefficient, averaged over the classes present in the batch (Milletari et al., arXiv:1606.04797).

    Args:
        weight: factor of the term.

    Raises:
        ValueError: a negative weight.
    """

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        if not weight >= 0:  # NaN is refused too
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

    Raises:
        ValueError: there is none, or two have a term of the same name.
    """

    def __init__(self, losses: list[nn.Module]) -> None:
        super().__init__()
        if not losses:
            raise ValueError("Expected at least one of `losses`, but got none - mend conf/loss")
        self.losses = nn.ModuleList(losses)

    def forward(self, outputs: Mapping[str, Tensor], batch: Batch) -> Terms:
        """All terms of all losses."""
        terms: Terms = {}
        for loss in self.losses:
            more: Terms = loss(outputs, batch)
            if twice := terms.keys() & more.keys():  # one would silently replace the other
                raise ValueError(f"Expected losses with terms of different names, but got {sorted(twice)} twice - merge them in conf/loss")
            terms |= more
        return terms
