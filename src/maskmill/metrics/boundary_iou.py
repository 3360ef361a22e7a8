"""Boundary IoU as a torchmetrics metric."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from maskmill.canonical.categories import Categories
from maskmill.metrics.confusion_matrix import as_labels
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
        kwargs: of torchmetrics.Metric.
    """

    full_state_update = False
    areas: Tensor

    def __init__(
        self, categories: Categories, background: bool | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.categories = categories
        self.background = (
            categories.background_index is not None if background is None else background
        )
        self.add_state(
            "areas", torch.zeros(categories.num_classes, 2, dtype=torch.int64), dist_reduce_fx="sum"
        )

    def update(self, preds: Sequence[Labels] | Tensor, target: Sequence[Labels] | Tensor) -> None:
        """Count images; those of tensors on the CPU, where the filters run.

        Args:
            preds: as in `ConfusionMatrix`.
            target: likewise.
        """
        for pair in zip(preds, target, strict=True):
            pred, truth = (
                class_map(as_labels(labels, self.categories), self.categories) for labels in pair
            )
            areas = boundary_areas(
                pred, truth, self.categories.num_classes, background=self.background
            )
            self.areas += torch.from_numpy(areas).to(self.areas.device)

    def compute(self) -> dict[str, Tensor]:
        """The mean as "boundary_mIoU", and "boundary_IoU/<category>" of each; float64 fractions, NaN for what does not occur."""
        areas = self.areas.cpu().numpy().T
        iou = intersection_over_union(*areas)
        scores = {
            f"boundary_IoU/{category.name}": float(value)
            for category, value in zip(self.categories, iou, strict=True)
        }
        scores["boundary_mIoU"] = mean_iou(*areas)
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in scores.items()}
