"""Losses over the overlap of whole classes: Dice, Jaccard and their common form, Tversky.

Why not those of segmentation_models_pytorch: they divide by all classes, also those absent from the batch, so that the same mistake
costs less where fewer classes are in view. Where every class is present, theirs and ours agree (the tests hold them side by side).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from maskmill.canonical.categories import IGNORE_INDEX
from maskmill.losses.semantic import Batch, Terms, check_weights, weights_tensor


class Tversky(nn.Module):
    """One minus TP / (TP + alpha FP + beta FN), softly counted, averaged over the classes present in the batch.

    Salehi et al., MLMI 2017 (arXiv:1706.05721), eq. 3. A `beta` above `alpha` favours recall: small lesions are not lost.

    Args:
        weight: factor of the term.
        alpha: cost of a false positive.
        beta: cost of a false negative.
        class_weights: a factor for each class's share of the mean, in the order of the category table; None is 1 for all.

    Raises:
        ValueError: an argument is out of range.
    """

    name = "tversky"
    class_weights: Tensor | None

    def __init__(
        self,
        weight: float = 1.0,
        *,
        alpha: float = 0.3,
        beta: float = 0.7,
        class_weights: list[float] | None = None,
    ) -> None:
        super().__init__()
        if not (weight >= 0 and alpha >= 0 and beta >= 0):  # NaN is refused too
            raise ValueError(
                f"Expected `weight`, `alpha` and `beta` of at least 0, but got {weight}, {alpha} and {beta} - mend conf/loss"
            )
        self.weight, self.alpha, self.beta = weight, alpha, beta
        self.register_buffer(
            "class_weights", weights_tensor(class_weights), persistent=False
        )  # configuration, not state

    def forward(self, outputs: Mapping[str, Tensor], batch: Batch) -> Terms:
        """Logits (B, K, H, W) against `semantic` (B, H, W) uint8: one scalar, 0 where no pixel is labelled."""
        target = batch["semantic"].long()
        labelled = (target != IGNORE_INDEX).unsqueeze(1)  # (B, 1, H, W)
        probs = (
            (outputs["semantic"].float().softmax(dim=1) * labelled).transpose(0, 1).flatten(1)
        )  # (K, B H W)
        check_weights(self.class_weights, len(probs))
        one_hot = torch.zeros_like(probs).scatter_(
            0, (target.unsqueeze(1) * labelled).view(1, -1), 1.0
        ) * labelled.view(1, -1)
        size, hit = one_hot.sum(dim=1), (probs * one_hot).sum(dim=1)  # (K,)
        cost = self.alpha * (probs.sum(dim=1) - hit) + self.beta * (size - hit)
        share = (
            (size > 0).float() if self.class_weights is None else (size > 0) * self.class_weights
        )  # an absent class has no say
        loss = 1 - hit / (hit + cost).clamp(min=1e-6)
        return {self.name: self.weight * (loss * share).sum() / share.sum().clamp(min=1e-6)}


class Dice(Tversky):
    """One minus the soft Dice coefficient, 2 TP / (2 TP + FP + FN) (Milletari et al., 3DV 2016, arXiv:1606.04797)."""

    name = "dice"

    def __init__(self, weight: float = 1.0, *, class_weights: list[float] | None = None) -> None:
        super().__init__(weight, alpha=0.5, beta=0.5, class_weights=class_weights)


class Jaccard(Tversky):
    """One minus the soft intersection over union, TP / (TP + FP + FN) (Rahman and Wang, ISVC 2016)."""

    name = "jaccard"

    def __init__(self, weight: float = 1.0, *, class_weights: list[float] | None = None) -> None:
        super().__init__(weight, alpha=1.0, beta=1.0, class_weights=class_weights)
