"""The confusion matrix of a data set as a torchmetrics metric: mIoU, Dice and pixel accuracy."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from maskmill.canonical.categories import IGNORE_INDEX, Categories
from maskmill.canonical.panoptic import VOID_CATEGORY
from maskmill.metrics.functional.confusion_matrix import (
    Labels,
    class_areas,
    confusion_matrix,
    intersection_over_union,
    semantic_scores,
)
from maskmill.metrics.functional.tensor_overlaps import require_integer_tensors, tensor_confusion


class ConfusionMatrix(Metric):
    """Mean IoU of the whole data set and the other scores of its confusion matrix.

    Args:
        categories: the data set's table.
        background: unlabelled target pixels are background; None: where every category is a thing.
        kwargs: passed to torchmetrics.Metric.

    Example:
        >>> from maskmill.canonical.categories import Category
        >>> sea = Category(7, "sea", False, (0, 0, 200))
        >>> sand = Category(8, "sand", False, (200, 200, 0))
        >>> metric = ConfusionMatrix(Categories([sea, sand]))
        >>> metric.update(torch.tensor([[[7, 7, 7, 8]]]), torch.tensor([[[7, 7, 8, 8]]]))
        >>> round(float(metric.compute()["mIoU"]), 4)  # sea 2 of 3, sand 1 of 2
        0.5833
    """

    full_state_update = False
    matrix: Tensor  # (K + 1, K + 1) int64: target in rows, the last row and column of void

    def __init__(
        self, categories: Categories, background: bool | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.categories = categories
        self.background = is_background(background, categories)
        size = categories.num_classes + 1
        self.add_state("matrix", torch.zeros(size, size, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, preds: Sequence[Labels] | Tensor, target: Sequence[Labels] | Tensor) -> None:
        """Count images.

        Args:
            preds: category ids (H, W) of each image, -1 where nothing was predicted; or its
                segments; or a tensor (B, H, W) of category ids on any device, in which void is -1,
                or 255 where no category has this id.
            target: of the same images, -1 where unlabelled; or segments; or a tensor (B, H, W).
        """
        if isinstance(preds, Tensor) and isinstance(target, Tensor):
            self.matrix += tensor_confusion(preds, target, self.categories).to(self.matrix.device)
            return
        for pred_labels, target_labels in zip(preds, target, strict=True):
            matrix = confusion_matrix(
                as_labels(pred_labels, self.categories),
                as_labels(target_labels, self.categories),
                self.categories,
            )
            self.matrix += torch.from_numpy(matrix).to(self.matrix.device)

    def compute(self) -> dict[str, Tensor]:
        """The scores so far.

        Returns:
            the names of `semantic_scores`, and "IoU/<category>" of each: float64 fractions, NaN
            for a category that does not occur.
        """
        matrix = self.matrix.cpu().numpy()
        scores = semantic_scores(matrix, background=self.background)
        intersection, union = class_areas(matrix, background=self.background)
        iou = intersection_over_union(intersection, union).tolist()
        for category, value in zip(self.categories, iou, strict=True):
            scores[f"IoU/{category.name}"] = value
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in scores.items()}


def is_background(background: bool | None, categories: Categories) -> bool:
    """Whether unlabelled target pixels are background; None: where every category is a thing."""
    return categories.background_index is not None if background is None else background


def as_labels(labels: Labels | Tensor, categories: Categories) -> Labels:
    """Category ids of a tensor (H, W) as an array, void as -1; segments and arrays are returned.

    Raises:
        ValueError: the tensor is not of integers.
    """
    if not isinstance(labels, Tensor):
        return labels
    require_integer_tensors(labels)
    ids = labels.cpu().to(torch.int32).numpy()
    if IGNORE_INDEX in categories:
        return ids
    return np.where(ids == IGNORE_INDEX, np.int32(VOID_CATEGORY), ids)
