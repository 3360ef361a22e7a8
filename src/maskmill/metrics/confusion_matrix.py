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
from maskmill.metrics.functional.tensor_overlaps import tensor_confusion


class ConfusionMatrix(Metric):
    """Mean IoU of the whole data set and what else follows from its confusion matrix.

    Args:
        categories: the data set's table.
        background: unlabelled target pixels are background; None: where every category is a thing.
        kwargs: of torchmetrics.Metric.
    """

    full_state_update = False
    matrix: Tensor

    def __init__(
        self, categories: Categories, background: bool | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.categories = categories
        self.background = (
            categories.background_index is not None if background is None else background
        )
        size = categories.num_classes + 1
        self.add_state("matrix", torch.zeros(size, size, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, preds: Sequence[Labels] | Tensor, target: Sequence[Labels] | Tensor) -> None:
        """Count images.

        Args:
            preds: category ids (H, W) of each image, -1 where nothing was predicted; or its segments. Or a tensor of category ids
                (B, H, W) on any device, void being -1, or 255 where no category has this id.
            target: of the same images, -1 where unlabelled; or segments; or a tensor.
        """
        if isinstance(preds, Tensor) and isinstance(target, Tensor):
            self.matrix += tensor_confusion(preds, target, self.categories).to(self.matrix.device)
            return
        for images in zip(preds, target, strict=True):
            pred, truth = (as_labels(labels, self.categories) for labels in images)
            self.matrix += torch.from_numpy(confusion_matrix(pred, truth, self.categories)).to(
                self.matrix.device
            )

    def compute(self) -> dict[str, Tensor]:
        """As `semantic_scores`, and "IoU/<category>" of each; float64 fractions, NaN for what does not occur."""
        matrix = self.matrix.cpu().numpy()
        scores = semantic_scores(matrix, background=self.background)
        iou = intersection_over_union(*class_areas(matrix, background=self.background))
        scores |= {
            f"IoU/{category.name}": float(value)
            for category, value in zip(self.categories, iou, strict=True)
        }
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in scores.items()}


def as_labels(labels: Labels | Tensor, categories: Categories) -> Labels:
    """Category ids of a tensor (H, W) as an array, void as -1; segments and arrays stay as they are."""
    if not isinstance(labels, Tensor):
        return labels
    ids = labels.cpu().to(torch.int32).numpy()
    return (
        ids
        if IGNORE_INDEX in categories
        else np.where(ids == IGNORE_INDEX, np.int32(VOID_CATEGORY), ids)
    )
