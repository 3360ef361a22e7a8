"""Boundary IoU as a torchmetrics metric."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from maskmill.canonical.categories import Categories
from maskmill.metrics.confusion_matrix import as_labels, is_background
from maskmill.metrics.functional.boundary_iou import boundary_areas
from maskmill.metrics.functional.confusion_matrix import (
    Labels,
    class_map,
    intersection_over_union,
    mean_iou,
)


class BoundaryIoU(Metric):
    """Mean boundary IoU of the whole data set; see `boundary_areas`.

    Args:
        categories: the data set's table.
        background: unlabelled target pixels are background; None: where every category is a thing.
        kwargs: passed to torchmetrics.Metric.

    Example:
        >>> import numpy as np
        >>> from maskmill.canonical.categories import Category
        >>> metric = BoundaryIoU(Categories([Category(7, "sea", False, (0, 0, 9))]))
        >>> mask = np.full((4, 4), 7, np.int32)
        >>> metric.update([mask], [mask])
        >>> float(metric.compute()["boundary_mIoU"])
        1.0
    """

    full_state_update = False
    areas: Tensor  # (K, 2) int64: intersection and union

    def __init__(
        self, categories: Categories, background: bool | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.categories = categories
        self.background = is_background(background, categories)
        areas = torch.zeros(categories.num_classes, 2, dtype=torch.int64)
        self.add_state("areas", areas, dist_reduce_fx="sum")

    def update(self, preds: Sequence[Labels] | Tensor, target: Sequence[Labels] | Tensor) -> None:
        """Count images; those of tensors on the CPU, where the filters run.

        Args:
            preds: category ids (H, W) of each image, -1 where nothing was predicted; or its
                segments; or a tensor (B, H, W) of category ids.
            target: of the same images, -1 where unlabelled; or segments; or a tensor (B, H, W).
        """
        for pred_labels, target_labels in zip(preds, target, strict=True):
            areas = boundary_areas(
                class_map(as_labels(pred_labels, self.categories), self.categories),
                class_map(as_labels(target_labels, self.categories), self.categories),
                self.categories.num_classes,
                background=self.background,
            )
            self.areas += torch.from_numpy(areas).to(self.areas.device)

    def compute(self) -> dict[str, Tensor]:
        """The scores so far.

        Returns:
            "boundary_mIoU", and "boundary_IoU/<category>" of each: float64 fractions, NaN for a
            category that does not occur.
        """
        intersection, union = self.areas.cpu().numpy().T
        iou = intersection_over_union(intersection, union).tolist()
        scores = {}
        for category, value in zip(self.categories, iou, strict=True):
            scores[f"boundary_IoU/{category.name}"] = value
        scores["boundary_mIoU"] = mean_iou(intersection, union)
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in scores.items()}
