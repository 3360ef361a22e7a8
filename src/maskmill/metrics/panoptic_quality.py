"""Panoptic quality as a torchmetrics metric."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torchmetrics import Metric

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.metrics.confusion_matrix import is_background
from maskmill.metrics.functional.panoptic_quality import (
    PanopticCount,
    PanopticScore,
    count_matches,
    panoptic_per_class,
    panoptic_scores,
)
from maskmill.metrics.functional.segment_matching import Matches, find_matches, match_overlaps
from maskmill.metrics.functional.tensor_overlaps import segment_overlaps


class PanopticQuality(Metric):
    """PQ, SQ and RQ as computed by COCO's panopticapi, and what PQ loses to which error.

    See `find_matches`.

    Args:
        categories: the data set's table.
        background: unlabelled target pixels are background; None: where every category is a thing.
        void_in_union: leave target void in the union, as BDD100K's evaluator does; panopticapi
            and deeplab2 remove it.
        kwargs: passed to torchmetrics.Metric.

    Example:
        >>> import numpy as np
        >>> from maskmill.canonical.categories import Category
        >>> metric = PanopticQuality(Categories([Category(7, "cell", True, (200, 0, 0))]))
        >>> target = Panoptic.from_ids(np.array([[1, 1, 1, 1]]), {1: 7})
        >>> pred = Panoptic.from_ids(np.array([[1, 1, 1, 0]]), {1: 7})
        >>> metric.update([pred], [target])
        >>> float(metric.compute()["PQ"])
        0.75
    """

    full_state_update = False
    counts: Tensor  # (K, 8) float64: the columns of PanopticCount

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
        self.background = is_background(background, categories)
        self.void_in_union = void_in_union
        counts = torch.zeros(categories.num_classes, len(PanopticCount), dtype=torch.float64)
        self.add_state("counts", counts, dist_reduce_fx="sum")

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Module:
        """Follow the module around it to its device, not to its precision.

        bfloat16 could not count beyond 256.
        """
        return super()._apply(lambda tensor: tensor.to(fn(tensor).device), exclude_state)

    def update(
        self, preds: Sequence[Panoptic] | Tensor, target: Sequence[Panoptic] | Tensor
    ) -> None:
        """Count images.

        Args:
            preds: the segments of each image; or (B, H, W, 2) integers on any device, the category
                id and instance id of each pixel. The category of void is -1, or 255 where no
                category has this id.
            target: of the same images, in the same form.
        """
        num_classes = self.categories.num_classes
        for matches in self._matches(preds, target):
            counts = torch.from_numpy(count_matches(matches, num_classes))
            self.counts += counts.to(self.counts.device)

    def _matches(
        self, preds: Sequence[Panoptic] | Tensor, target: Sequence[Panoptic] | Tensor
    ) -> Iterator[Matches]:
        if isinstance(preds, Tensor) and isinstance(target, Tensor):
            for image in segment_overlaps(preds, target, self.categories):
                yield match_overlaps(
                    image.shared,
                    image.pred_index,
                    image.target_index,
                    background=self.background,
                    void_in_union=self.void_in_union,
                )
        elif isinstance(preds, Tensor) or isinstance(target, Tensor):
            raise ValueError(
                "Expected both as tensors or neither, "
                f"but got {type(preds).__name__} and {type(target).__name__} - convert one of them"
            )
        else:
            for pred, labels in zip(preds, target, strict=True):
                yield find_matches(
                    pred,
                    labels,
                    self.categories,
                    background=self.background,
                    void_in_union=self.void_in_union,
                )

    def compute(self) -> dict[str, Tensor]:
        """The scores so far.

        Returns:
            the names of `panoptic_scores`, and "PQ/<category>" of each: float64 fractions, NaN for
            a category that does not occur.
        """
        counts = self.counts.cpu().numpy()
        pq = panoptic_per_class(counts)[:, PanopticScore.PQ].tolist()
        scores = {}
        for category, value in zip(self.categories, pq, strict=True):
            scores[f"PQ/{category.name}"] = value
        # Last: the name of a category can be "thing".
        scores |= panoptic_scores(counts, self.categories)
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in scores.items()}
