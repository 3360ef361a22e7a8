"""Losses of class logits per pixel. Pixels with the label `IGNORE_INDEX` are never counted.

Losses convert their inputs to float32, also under autocast: 16-bit logits of any size give a finite
loss. NaN or +infinity in the logits of a labelled pixel gives NaN, which `FiniteLoss` reports with
the names of the images. A batch without labels, or without images, has the loss 0.
"""

from collections.abc import Mapping
from typing import Annotated, TypedDict

import torch
from annotated_types import Ge, Interval
from torch import Tensor, nn
from torch.nn import functional as F

from maskmill.canonical.categories import IGNORE_INDEX
from maskmill.losses.outputs import ClassOutputs

Weight = Annotated[float, Ge(0)]
Fraction = Annotated[float, Interval(gt=0, le=1)]
Terms = dict[str, Tensor]  # name of the term -> weighted scalar
MIN_ERROR = 1e-12  # negligible beside 1 in float32


class Batch(TypedDict):
    """The targets that losses read from a batch.

    Keys:
        semantic: (B, H, W) uint8, class index, 255 = ignored.
        instance: (B, H, W) int32, things 1..N of each image, 0 = no thing, -1 = unknown. Semantic
            losses do not read it.
    """

    semantic: Tensor
    instance: Tensor


class CrossEntropy(nn.Module):
    """Cross-entropy over all pixels or over the hardest ones.

    Args:
        weight: factor of the term.
        label_smoothing: fraction of the target that is spread over all classes
            (Szegedy et al., arXiv:1512.00567).
        hardest: fraction of the labelled pixels that are counted, those with the largest loss
            (OHEM: Shrivastava et al., arXiv:1604.03540; for pixels: DeeperLab, arXiv:1902.05093,
            sec. 3.2); 1 counts all.
        class_weights: factor of each class's pixels, in the order of the category table; None
            means 1 for all.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]]).reshape(1, 2, 1, 2)
        >>> target = torch.tensor([[[0, 255]]], dtype=torch.uint8)
        >>> CrossEntropy()({"semantic": logits}, {"semantic": target})
        {'cross_entropy': tensor(0.1269)}
    """

    class_weights: Tensor | None

    def __init__(
        self,
        weight: Weight = 1.0,
        *,
        label_smoothing: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
        hardest: Fraction = 1.0,
        class_weights: list[Weight] | None = None,
    ) -> None:
        super().__init__()
        self.weight = weight
        self.label_smoothing = label_smoothing
        self.hardest = hardest
        # Not persistent: the weights are configuration, not state.
        self.register_buffer("class_weights", weights_tensor(class_weights), persistent=False)

    def forward(self, outputs: ClassOutputs, batch: Batch) -> Terms:
        """The loss of `semantic` logits (B, K, H, W): one scalar, 0 if no pixel is labelled.

        Raises:
            ValueError: the number of class weights is not K.
        """
        logits = outputs["semantic"].float()
        target = batch["semantic"].long()
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
            return {"cross_entropy": self.weight * mean_of_hardest(loss, target, self.hardest)}
        total_weight = pixel_weights(self.class_weights, target).sum().clamp(min=1e-6)
        return {"cross_entropy": self.weight * loss.sum() / total_weight}


class Focal(nn.Module):
    """Cross-entropy with little weight on well classified pixels: (1 - p) ** gamma * -ln p.

    Lin et al., ICCV 2017 (arXiv:1708.02002), eq. 4. Here p is the softmax, so that the loss equals
    the cross-entropy if `gamma` is 0. The FocalLoss of segmentation_models_pytorch uses a sigmoid
    per class instead, and is NaN for a batch without labels.

    Args:
        weight: factor of the term.
        gamma: how fast the weight falls as p grows; 2 in the paper.
        class_weights: the paper's alpha, a factor of each class's pixels in the order of the
            category table; None means 1 for all.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]]).reshape(1, 2, 1, 2)
        >>> target = torch.tensor([[[0, 255]]], dtype=torch.uint8)
        >>> Focal(gamma=2.0)({"semantic": logits}, {"semantic": target})
        {'focal': tensor(0.0018)}
    """

    class_weights: Tensor | None

    def __init__(
        self,
        weight: Weight = 1.0,
        *,
        gamma: Annotated[float, Ge(0)] = 2.0,
        class_weights: list[Weight] | None = None,
    ) -> None:
        super().__init__()
        self.weight = weight
        self.gamma = gamma
        self.register_buffer("class_weights", weights_tensor(class_weights), persistent=False)

    def forward(self, outputs: ClassOutputs, batch: Batch) -> Terms:
        """The loss of `semantic` logits (B, K, H, W): one scalar, 0 if no pixel is labelled.

        Raises:
            ValueError: the number of class weights is not K.
        """
        logits = outputs["semantic"].float()
        target = batch["semantic"].long()
        check_weights(self.class_weights, logits.shape[1])
        loss = F.cross_entropy(
            logits, target, ignore_index=IGNORE_INDEX, reduction="none"
        )  # (B, H, W), 0 where ignored
        # 1 - p; for gamma < 1, the gradient of x ** gamma is infinite at 0.
        error = (-torch.expm1(-loss)).clamp(min=MIN_ERROR)
        weights = pixel_weights(self.class_weights, target)
        total = (weights * error**self.gamma * loss).sum()
        return {"focal": self.weight * total / weights.sum().clamp(min=1e-6)}


class Sum(nn.Module):
    """Several losses at once. Their terms keep their names.

    Args:
        losses: losses whose terms have different names.

    Raises:
        ValueError: `losses` is empty.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]]).reshape(1, 2, 1, 2)
        >>> target = torch.tensor([[[0, 255]]], dtype=torch.uint8)
        >>> Sum([CrossEntropy(), Focal()])({"semantic": logits}, {"semantic": target})
        {'cross_entropy': tensor(0.1269), 'focal': tensor(0.0018)}
    """

    def __init__(self, losses: list[nn.Module]) -> None:
        super().__init__()
        if not losses:
            raise ValueError("Expected at least one of `losses`, but got none - check conf/loss")
        self.losses = nn.ModuleList(losses)

    def forward(self, outputs: Mapping[str, Tensor], batch: Batch) -> Terms:
        """All terms of all losses.

        Raises:
            ValueError: two losses have a term of the same name.
        """
        terms: Terms = {}
        for loss in self.losses:
            new_terms: Terms = loss(outputs, batch)
            repeated = terms.keys() & new_terms.keys()
            if repeated:  # otherwise one would silently replace the other
                raise ValueError(
                    "Expected losses with terms of different names, "
                    f"but got {sorted(repeated)} twice - merge them in conf/loss"
                )
            terms |= new_terms
        return terms


def mean_of_hardest(loss: Tensor, target: Tensor, fraction: float) -> Tensor:
    """The mean over a fraction of the labelled pixels, those with the largest loss.

    Args:
        loss: (B, H, W), 0 where ignored.
        target: (B, H, W) long, class index, 255 = ignored.
        fraction: in (0, 1]; at least one pixel is counted.
    """
    if not loss.numel():  # a batch without images
        return loss.sum()
    num_labelled = int((target != IGNORE_INDEX).sum())
    num_counted = max(1, round(fraction * num_labelled))
    return loss.flatten().topk(num_counted).values.mean()


def weights_tensor(class_weights: list[float] | None) -> Tensor | None:
    """Configured class weights as a tensor (K,) float32."""
    return None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)


def check_weights(class_weights: Tensor | None, num_classes: int) -> None:
    """Check the number of class weights, which is known only with the first logits.

    Raises:
        ValueError: it is not the number of classes.
    """
    if class_weights is not None and len(class_weights) != num_classes:
        raise ValueError(
            f"Expected one weight for each of {num_classes} classes, "
            f"but got {len(class_weights)} - check loss.class_weights"
        )


def pixel_weights(class_weights: Tensor | None, target: Tensor) -> Tensor:
    """The weight of each pixel's class (B, H, W) float32, 0 where ignored."""
    labelled = target != IGNORE_INDEX
    if class_weights is None:
        return labelled.float()
    return class_weights[target * labelled] * labelled
