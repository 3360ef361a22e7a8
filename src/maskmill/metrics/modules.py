"""The pure functions as torchmetrics metrics: merge across processes, survive checkpoints, work in any Lightning module."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module
from torchmetrics import Metric

from maskmill.canonical.categories import IGNORE_INDEX, Categories
from maskmill.canonical.panoptic import VOID_CATEGORY, Panoptic
from maskmill.metrics.boundary_iou import boundary_areas
from maskmill.metrics.confusion import (
    Labels,
    class_areas,
    class_map,
    confusion_matrix,
    intersection_over_union,
    mean_iou,
    semantic_scores,
)
from maskmill.metrics.matching import Matches, find_matches, match_overlaps
from maskmill.metrics.panoptic_quality import (
    COUNTS,
    count_matches,
    panoptic_per_class,
    panoptic_scores,
)
from maskmill.metrics.tensor_overlaps import segment_overlaps, tensor_confusion


class PanopticQuality(Metric):
    """PQ, SQ and RQ as COCO's panopticapi computes them, and what PQ loses to which error; see `find_matches`.

    Args:
        categories: the data set's table.
        background: unlabelled target pixels are background; None: where every category is a thing.
        void_in_union: leave target void in the union, as BDD100K and deeplab2 count.
        kwargs: of torchmetrics.Metric.
    """

    full_state_update = False
    counts: Tensor

    def __init__(
        self,
        categories: Categories,
        background: bool | None = None,
        *,
        void_in_union: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.categories = categories
        self.background = (
            categories.background_index is not None if background is None else background
        )
        self.void_in_union = void_in_union
        self.add_state(
            "counts",
            torch.zeros(categories.num_classes, len(COUNTS), dtype=torch.float64),
            dist_reduce_fx="sum",
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Module:
        """Follow the module around it to its device, not to its precision: bfloat16 counts to 256 and no further."""
        return super()._apply(lambda tensor: tensor.to(fn(tensor).device), exclude_state)

    def update(
        self, preds: Sequence[Panoptic] | Tensor, target: Sequence[Panoptic] | Tensor
    ) -> None:
        """Count images.

        Args:
            preds: one per image; or (B, H, W, 2) integers on any device: category id and instance number of each pixel, the category of
                void being -1, or 255 where no category has this id.
            target: of the same images, in the same form.
        """
        if isinstance(preds, Tensor) and isinstance(target, Tensor):
            images = segment_overlaps(preds, target, self.categories)
            found = (
                match_overlaps(*image, background=self.background, void_in_union=self.void_in_union)
                for image in images
            )
        elif isinstance(preds, Tensor) or isinstance(target, Tensor):
            raise ValueError(
                f"Expected both as tensors or neither, but got {type(preds).__name__} and {type(target).__name__}"
            )
        else:
            found = (self._matches(pred, truth) for pred, truth in zip(preds, target, strict=True))
        for matches in found:
            self.counts += torch.from_numpy(count_matches(matches, self.categories.num_classes)).to(
                self.counts.device
            )

    def _matches(self, pred: Panoptic, target: Panoptic) -> Matches:
        return find_matches(
            pred,
            target,
            self.categories,
            background=self.background,
            void_in_union=self.void_in_union,
        )

    def compute(self) -> dict[str, Tensor]:
        """As `panoptic_scores`, and "PQ/<category>" of each; float64 fractions, NaN for what does not occur."""
        counts = self.counts.cpu().numpy()
        per_class = zip(self.categories, panoptic_per_class(counts)[:, 0], strict=True)
        scores = {f"PQ/{category.name}": float(value) for category, value in per_class}
        scores |= panoptic_scores(counts, self.categories)  # last: a category may be called "thing"
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in scores.items()}


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
            pred, truth = (_labels(labels, self.categories) for labels in images)
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


def _labels(labels: Labels | Tensor, categories: Categories) -> Labels:
    if not isinstance(labels, Tensor):
        return labels
    ids = labels.cpu().to(torch.int32).numpy()
    return (
        ids
        if IGNORE_INDEX in categories
        else np.where(ids == IGNORE_INDEX, np.int32(VOID_CATEGORY), ids)
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
                class_map(_labels(labels, self.categories), self.categories) for labels in pair
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
