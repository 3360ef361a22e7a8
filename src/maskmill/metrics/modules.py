"""The pure functions as torchmetrics metrics: merge across processes, survive checkpoints, work in any Lightning module."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
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
from maskmill.metrics.mask_ap import score_matches
from maskmill.metrics.mask_matching import match_masks, pack, split, unpack
from maskmill.metrics.masks import Masks
from maskmill.metrics.panoptic_quality import COUNTS, match_segments, panoptic_per_class, panoptic_scores


class PanopticQuality(Metric):
    """PQ, SQ and RQ as COCO's panopticapi computes them; see `match_segments`.

    Args:
        categories: the data set's table.
        background: unlabelled target pixels are background; None: where every category is a thing.
        kwargs: of torchmetrics.Metric.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, categories: Categories, background: bool | None = None, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(**kwargs)
        self.categories = categories
        self.background = categories.background_index is not None if background is None else background
        self.add_state("counts", torch.zeros(categories.num_classes, len(COUNTS), dtype=torch.float64), dist_reduce_fx="sum")

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Module:
        """Follow the module around it to its device, not to its precision: bfloat16 counts to 256 and no further."""
        return super()._apply(lambda tensor: tensor.to(fn(tensor).device), exclude_state)

    def update(self, preds: Sequence[Panoptic], target: Sequence[Panoptic]) -> None:
        """Count images.

        Args:
            preds: one per image.
            target: of the same images.
        """
        for pred, truth in zip(preds, target, strict=True):
            counts = match_segments(pred, truth, self.categories, background=self.background)
            self.counts += torch.from_numpy(counts).to(self.counts.device)

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

    def __init__(self, categories: Categories, background: bool | None = None, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(**kwargs)
        self.categories = categories
        self.background = categories.background_index is not None if background is None else background
        size = categories.num_classes + 1
        self.add_state("matrix", torch.zeros(size, size, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, preds: Sequence[Labels], target: Sequence[Labels]) -> None:
        """Count images.

        Args:
            preds: category ids (H, W) of each image, -1 where nothing was predicted; or its segments.
            target: of the same images, -1 where unlabelled; or segments.
        """
        for pred, truth in zip(preds, target, strict=True):
            self.matrix += torch.from_numpy(confusion_matrix(pred, truth, self.categories)).to(self.matrix.device)

    def compute(self) -> dict[str, Tensor]:
        """As `semantic_scores`, and "IoU/<category>" of each; float64 fractions, NaN for what does not occur."""
        matrix = self.matrix.cpu().numpy()
        scores = semantic_scores(matrix, background=self.background)
        iou = intersection_over_union(*class_areas(matrix, background=self.background))
        scores |= {f"IoU/{category.name}": float(value) for category, value in zip(self.categories, iou, strict=True)}
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in scores.items()}


class BoundaryIoU(Metric):
    """Mean boundary IoU of the whole data set; see `boundary_areas`.

    Args:
        categories: the data set's table.
        background: unlabelled target pixels are background; None: where every category is a thing.
        kwargs: of torchmetrics.Metric.
    """

    full_state_update = False
    areas: Tensor

    def __init__(self, categories: Categories, background: bool | None = None, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(**kwargs)
        self.categories = categories
        self.background = categories.background_index is not None if background is None else background
        self.add_state("areas", torch.zeros(categories.num_classes, 2, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, preds: Sequence[Labels], target: Sequence[Labels]) -> None:
        """Count images.

        Args:
            preds: category ids (H, W) of each image, -1 where nothing was predicted; or its segments.
            target: of the same images, -1 where unlabelled; or segments.
        """
        for pair in zip(preds, target, strict=True):
            pred, truth = (class_map(labels, self.categories) for labels in pair)
            areas = boundary_areas(pred, truth, self.categories.num_classes, background=self.background)
            self.areas += torch.from_numpy(areas).to(self.areas.device)

    def compute(self) -> dict[str, Tensor]:
        """The mean as "boundary_mIoU", and "boundary_IoU/<category>" of each; float64 fractions, NaN for what does not occur."""
        areas = self.areas.cpu().numpy().T
        iou = intersection_over_union(*areas)
        scores = {f"boundary_IoU/{category.name}": float(value) for category, value in zip(self.categories, iou, strict=True)}
        scores["boundary_mIoU"] = mean_iou(*areas)
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in scores.items()}


class MaskAP(Metric):
    """AP, AP50 and the other numbers of COCO for masks; see `mask_ap`.

    Args:
        categories: the data set's table; its things are the classes.
        boundary: boundary AP in place of mask AP (Cheng et al., CVPR 2021, arXiv:2103.16562).
        kwargs: of torchmetrics.Metric.
    """

    full_state_update = False
    packed: list[Tensor]

    def __init__(self, categories: Categories, *, boundary: bool = False, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(**kwargs)
        self.categories = categories
        self.boundary = boundary
        # Each image is a line of bytes: what torchmetrics can gather from processes that saw different numbers of objects.
        self.add_state("packed", [], dist_reduce_fx="cat")

    def update(self, preds: Sequence[Panoptic], target: Sequence[Panoptic]) -> None:
        """Count images.

        Args:
            preds: one per image; their segments carry scores, 1 where they do not.
            target: of the same images.
        """
        for pred, truth in zip(preds, target, strict=True):
            matches = match_masks(*(Masks.of_things(side, self.categories) for side in (pred, truth)), boundary=self.boundary)
            self.packed.append(torch.from_numpy(pack(matches)).to(self.device))

    def compute(self) -> dict[str, Tensor]:
        """The twelve numbers, and "AP/<category>" of each thing; float64 fractions, NaN for what the truth has nothing of."""
        data = dim_zero_cat(self.packed).cpu().numpy().tobytes() if len(self.packed) else b""  # one tensor after gathering
        # Among equal scores the evaluator takes the earlier image first: sorted, so that batches and processes change nothing.
        images = [unpack(image) for image in sorted(split(data))]
        done = score_matches(images, [category.id for category in self.categories if category.isthing])
        scores = {f"AP/{self.categories[category_id].name}": value for category_id, value in done.per_class.items()}
        scores |= done.numbers  # last: a category may be called "small"
        prefix = "boundary_" if self.boundary else ""
        return {f"{prefix}{name}": torch.tensor(value, dtype=torch.float64) for name, value in scores.items()}
