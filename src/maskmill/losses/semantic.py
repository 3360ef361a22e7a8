"""Losses over class logits, pixel by pixel; pixels of `IGNORE_INDEX` never count."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskmill.canonical.categories import IGNORE_INDEX

Batch = Mapping[str, Tensor]
Terms = dict[str, Tensor]
FLOOR = 1e-12  # below what float32 tells from 0 beside 1


class CrossEntropy(nn.Module):
    """Cross-entropy over pixels, optionally over the hardest of them only.

    Args:
        weight: factor of the term.
        label_smoothing: share of the target spread over all classes (Szegedy et al., arXiv:1512.00567), 0..1.
        hardest: share of the labelled pixels that count, those with the largest loss (OHEM: Shrivastava et al., arXiv:1604.03540;
            for pixels DeeperLab, arXiv:1902.05093, sec. 3.2); 1 is all.
        class_weights: a factor for each class's pixels, in the order of the category table; None is 1 for all.

    Raises:
        ValueError: an argument is out of range.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        weight: float = 1.0,
        *,
        label_smoothing: float = 0.0,
        hardest: float = 1.0,
        class_weights: list[float] | None = None,
    ) -> None:
        super().__init__()
        if not (weight >= 0 and 0 <= label_smoothing < 1 and 0 < hardest <= 1):
            raise ValueError(
                f"Expected `weight` of at least 0, `label_smoothing` in [0, 1) and `hardest` in (0, 1], "
                f"but got {weight}, {label_smoothing} and {hardest} - mend conf/loss"
            )
        self.weight, self.label_smoothing, self.hardest = weight, label_smoothing, hardest
        self.register_buffer(
            "class_weights", weights_tensor(class_weights), persistent=False
        )  # configuration, not state

    def forward(self, outputs: Mapping[str, Tensor], batch: Batch) -> Terms:
        """Logits (B, K, H, W) against `semantic` (B, H, W) uint8: one scalar, 0 where no pixel is labelled."""
        logits, target = outputs["semantic"].float(), batch["semantic"].long()
        check_weights(self.class_weights, logits.shape[1])
        loss = F.cross_entropy(
            logits,
            target,
            self.class_weights,
            ignore_index=IGNORE_INDEX,
            reduction="none",
            label_smoothing=self.label_smoothing,
        )  # (B, H, W), 0 where ignored
        if self.hardest < 1:
            counted = max(1, round(self.hardest * int((target != IGNORE_INDEX).sum())))
            return {"cross_entropy": self.weight * loss.flatten().topk(counted).values.mean()}
        return {
            "cross_entropy": self.weight
            * loss.sum()
            / pixel_weights(self.class_weights, target).sum().clamp(min=1e-6)
        }


class Focal(nn.Module):
    """Cross-entropy that fades as a pixel is got right: (1 - p) ** gamma * -ln p (Lin et al., ICCV 2017, arXiv:1708.02002, eq. 4).

    Over the softmax, so that with `gamma` 0 it is the cross-entropy. (segmentation_models_pytorch's FocalLoss takes a sigmoid per class,
    and is NaN for a batch without labels.)

    Args:
        weight: factor of the term.
        gamma: how fast it fades; 2 in the paper.
        class_weights: the paper's alpha: a factor for each class's pixels, in the order of the category table; None is 1 for all.

    Raises:
        ValueError: an argument is out of range.
    """

    class_weights: Tensor | None

    def __init__(
        self, weight: float = 1.0, *, gamma: float = 2.0, class_weights: list[float] | None = None
    ) -> None:
        super().__init__()
        if not (weight >= 0 and gamma >= 0):
            raise ValueError(
                f"Expected `weight` and `gamma` of at least 0, but got {weight} and {gamma} - mend conf/loss"
            )
        self.weight, self.gamma = weight, gamma
        self.register_buffer("class_weights", weights_tensor(class_weights), persistent=False)

    def forward(self, outputs: Mapping[str, Tensor], batch: Batch) -> Terms:
        """Logits (B, K, H, W) against `semantic` (B, H, W) uint8: one scalar, 0 where no pixel is labelled."""
        logits, target = outputs["semantic"].float(), batch["semantic"].long()
        check_weights(self.class_weights, logits.shape[1])
        loss = F.cross_entropy(
            logits, target, ignore_index=IGNORE_INDEX, reduction="none"
        )  # (B, H, W), 0 where ignored
        missed = (-torch.expm1(-loss)).clamp(
            min=FLOOR
        )  # 1 - p; the slope of x ** gamma is infinite at 0 for gamma below 1
        weights = pixel_weights(self.class_weights, target)
        return {
            "focal": self.weight
            * (weights * missed**self.gamma * loss).sum()
            / weights.sum().clamp(min=1e-6)
        }


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
                raise ValueError(
                    f"Expected losses with terms of different names, but got {sorted(twice)} twice - merge them in conf/loss"
                )
            terms |= more
        return terms


def weights_tensor(class_weights: list[float] | None) -> Tensor | None:
    """Configured class weights as a tensor (K,) float32.

    Raises:
        ValueError: one is negative or no number.
    """
    if class_weights is None:
        return None
    if not all(factor >= 0 for factor in class_weights):  # NaN is refused too
        raise ValueError(
            f"Expected `class_weights` of at least 0, but got {class_weights} - mend conf/loss"
        )
    return torch.tensor(class_weights, dtype=torch.float32)


def check_weights(class_weights: Tensor | None, num_classes: int) -> None:
    """Hold the number of weights against that of classes, which only the logits tell.

    Raises:
        ValueError: they differ.
    """
    if class_weights is not None and len(class_weights) != num_classes:
        raise ValueError(
            f"Expected one weight for each of {num_classes} classes, but got {len(class_weights)} - mend loss.class_weights"
        )


def pixel_weights(class_weights: Tensor | None, target: Tensor) -> Tensor:
    """The weight of each pixel's class (B, H, W) float32, 0 where ignored."""
    labelled = target != IGNORE_INDEX
    return (
        labelled.float() if class_weights is None else class_weights[target * labelled] * labelled
    )
