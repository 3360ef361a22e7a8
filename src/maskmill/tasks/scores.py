"""What validation adds up: losses and metrics over all images of all processes, each image once."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import CatMetric

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
        self.losses = CatMetric(nan_strategy="disable")  # a loss that is no number shall be seen
        self.classes = ConfusionMatrix(categories)
        self.segments = PanopticQuality(categories) if segments else None

    def update(
        self, losses: Sequence[Tensor], predictions: Sequence[Prediction], batch: Mapping[str, Any]
    ) -> None:
        """Add a batch: the loss, prediction and truth of each image; repeats that keep processes in step (`valid` False) do not count."""
        rows = zip(losses, predictions, batch["panoptic"], batch["valid"], strict=True)
        counted = [(loss, pred, truth) for loss, pred, truth, valid in rows if valid]
        if not counted:
            return
        self.losses.update(torch.stack([loss.detach().float() for loss, _, _ in counted]))
        self.classes.update(
            [pred.semantic for _, pred, _ in counted],
            [truth.category_map() for _, _, truth in counted],
        )
        if self.segments is not None:
            self.segments.update(
                [pred.panoptic for _, pred, _ in counted], [truth for _, _, truth in counted]
            )

    def compute(self) -> dict[str, Tensor]:
        """All values as `val/<name>`, fractions, but for classes that do not occur, and start anew."""
        losses = (
            torch.as_tensor(self.losses.compute()).sort().values
        )  # in an order that no number of processes changes
        values = {"loss": losses.mean(), **self.classes.compute()}
        if self.segments is not None:
            values |= self.segments.compute()
        for metric in (self.losses, self.classes, self.segments):
            if metric is not None:
                metric.reset()
        return {
            f"val/{name}": value.float()
            for name, value in values.items()
            if name == "loss" or not torch.isnan(value)
        }
