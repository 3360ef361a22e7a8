"""Expected calibration error as a torchmetrics metric."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module
from torchmetrics import Metric

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.metrics.confusion_matrix import is_background
from maskmill.metrics.functional.calibration_error import (
    NUM_BINS,
    Reliability,
    reliability,
    scored_segments,
)
from maskmill.metrics.functional.segment_matching import find_matches


class CalibrationError(Metric):
    """Expected calibration error of segments: are 80 % of those with score 0.8 correct?

    See `reliability`.

    Args:
        categories: the data set's table.
        background: unlabelled target pixels are background; None: where every category is a thing.
        num_bins: of the scores.
        kwargs: passed to torchmetrics.Metric.

    Example:
        >>> import numpy as np
        >>> from maskmill.canonical.categories import Category
        >>> metric = CalibrationError(Categories([Category(7, "cell", True, (200, 0, 0))]))
        >>> ids = np.array([[1, 1]])
        >>> pred = Panoptic.from_ids(ids, {1: 7}, scores={1: 0.75})
        >>> metric.update([pred], [Panoptic.from_ids(ids, {1: 7})])
        >>> float(metric.compute()["ECE"])
        0.25
    """

    full_state_update = False
    bins: Tensor  # (3, B) float64: the fields of Reliability

    def __init__(
        self,
        categories: Categories,
        background: bool | None = None,
        *,
        num_bins: int = NUM_BINS,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.categories = categories
        self.background = is_background(background, categories)
        self.num_bins = num_bins
        self.add_state("bins", torch.zeros(3, num_bins, dtype=torch.float64), dist_reduce_fx="sum")

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Module:
        """Follow the module around it to its device, not to its precision."""
        return super()._apply(lambda tensor: tensor.to(fn(tensor).device), exclude_state)

    def update(self, preds: Sequence[Panoptic], target: Sequence[Panoptic]) -> None:
        """Count images.

        Args:
            preds: the segments of each image; those without a score are left out.
            target: of the same images.
        """
        matches = []
        for pred, labels in zip(preds, target, strict=True):
            matches.append(find_matches(pred, labels, self.categories, background=self.background))
        score, correct = scored_segments(matches)
        bins = reliability(score, correct, num_bins=self.num_bins)
        columns = np.stack([bins.count, bins.score_sum, bins.num_correct])
        self.bins += torch.from_numpy(columns).to(self.bins.device)

    def compute(self) -> dict[str, Tensor]:
        """The error as "ECE": a float64 fraction, NaN without a score."""
        count, score_sum, num_correct = self.bins.cpu().numpy()
        bins = Reliability(count, score_sum, num_correct)
        return {"ECE": torch.tensor(bins.ece, dtype=torch.float64)}
