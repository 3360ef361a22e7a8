"""Panoptic quality as a torchmetrics metric."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torchmetrics import Metric

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.metrics.functional.panoptic_quality import (
    COUNTS,
    count_matches,
    panoptic_per_class,
    panoptic_scores,
)
from maskmill.metrics.functional.segment_matching import Matches, find_matches, match_overlaps
from maskmill.metrics.functional.tensor_overlaps import segment_overlaps


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
