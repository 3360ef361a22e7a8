"""What validation adds up: losses and metrics over all images of all processes, each image once."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from maskmill.canonical.categories import Categories
from maskmill.metrics import ConfusionMatrix, PanopticQuality
from maskmill.postprocess.prediction import Prediction


class Scores(nn.Module):
    """The metrics of one validation epoch.

    Args:
        categories: the data set's table.
        segments: count panoptic quality too, not only classes.
    """

    def __init__(self, categories: Categories, *, segments: bool) -> None:
        super().__init__()
        self.loss = MeanMetric()
        self.classes = ConfusionMatrix(categories)
        self.segments = PanopticQuality(categories) if segments else None

    def update(self, loss: Tensor, predictions: Sequence[Prediction], batch: Mapping[str, Any]) -> None:
        """Add a batch; images that only keep processes in step (`valid` False) are left out."""
        counted = [(pred, truth) for pred, truth, valid in zip(predictions, batch["panoptic"], batch["valid"], strict=True) if valid]
        if not counted:
            return
        self.loss.update(loss.detach(), weight=len(counted))
        self.classes.update([pred.semantic for pred, _ in counted], [truth.category_map() for _, truth in counted])
        if self.segments is not None:
            self.segments.update([pred.panoptic for pred, _ in counted], [truth for _, truth in counted])

    def compute(self) -> dict[str, Tensor]:
        """All values as `val/<name>`, fractions, and start anew."""
        values = {"loss": self.loss.compute(), **self.classes.compute()}
        if self.segments is not None:
            values |= self.segments.compute()
        for metric in (self.loss, self.classes, self.segments):
            if metric is not None:
                metric.reset()
        return {f"val/{name}": value.float() for name, value in values.items() if not torch.isnan(value)}
