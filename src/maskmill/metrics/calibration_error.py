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
from maskmill.metrics.functional.calibration_error import (
    NUM_BINS,
    Reliability,
    reliability,
    scored_segments,
)
from maskmill.metrics.functional.segment_matching import find_matches


class CalibrationError(Metric):
    """Expected calibration error of predicted segments: is a segment of score 0.8 right in 80 % of the cases? See `reliability`.

    Args:
        categories: the data set's table.
        background: unlabelled target pixels are background; None: where every category is a thing.
        num_bins: of the scores.
        kwargs: of torchmetrics.Metric.
    """

    full_state_update = False
    bins: Tensor

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
        self.background = (
            categories.background_index is not None if background is None else background
        )
        self.num_bins = num_bins
        self.add_state("bins", torch.zeros(3, num_bins, dtype=torch.float64), dist_reduce_fx="sum")

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Module:
        """Follow the module around it to its device, not to its precision."""
        return super()._apply(lambda tensor: tensor.to(fn(tensor).device), exclude_state)

    def update(self, preds: Sequence[Panoptic], target: Sequence[Panoptic]) -> None:
        """Count images.

        Args:
            preds: one per image; segments without a score are left out.
            target: of the same images.
        """
        pairs = zip(preds, target, strict=True)
        matches = [
            find_matches(pred, truth, self.categories, background=self.background)
            for pred, truth in pairs
        ]
        bins = reliability(*scored_segments(matches), num_bins=self.num_bins)
        self.bins += torch.from_numpy(np.stack([bins.number, bins.score_sum, bins.right])).to(
            self.bins.device
        )

    def compute(self) -> dict[str, Tensor]:
        """The error as "ECE"; float64 fraction, NaN without a score."""
        return {"ECE": torch.tensor(Reliability(*self.bins.cpu().numpy()).ece, dtype=torch.float64)}
