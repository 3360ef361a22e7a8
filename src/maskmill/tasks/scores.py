"""Validation scores: losses and metrics over all images of all processes, each image once."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import CatMetric

from maskmill.canonical.categories import Categories
from maskmill.metrics import ConfusionMatrix, PanopticQuality
from maskmill.postprocess.prediction import Prediction

LOGGED = ("loss", "PQ", "PQ/thing", "PQ/stuff", "SQ", "RQ", "mIoU", "Dice")
MAX_CLASSES = 20  # with curves of their own; Cityscapes has 19


class Scores(nn.Module):
    """The metrics of one validation epoch.

    Args:
        categories: category table of the data set.
        segments: also compute panoptic quality, not only class metrics.
    """

    def __init__(self, categories: Categories, *, segments: bool) -> None:
        super().__init__()
        self.losses = CatMetric(nan_strategy="disable")  # a NaN loss must be reported
        self.classes = ConfusionMatrix(categories)
        self.segments = PanopticQuality(categories) if segments else None

    def update(
        self, losses: Sequence[Tensor], predictions: Sequence[Prediction], batch: Mapping[str, Any]
    ) -> None:
        """Add a batch.

        Args:
            losses: a scalar for each image.
            predictions: the prediction of each image.
            batch: `panoptic` is the ground truth of each image; images whose `valid` is False
                only keep the processes in step and do not count.
        """
        valid_losses = []
        panoptic_preds = []
        panoptic_targets = []
        semantic_preds = []
        semantic_targets = []
        rows = zip(losses, predictions, batch["panoptic"], batch["valid"], strict=True)
        for loss, pred, target, valid in rows:
            if valid:
                valid_losses.append(loss.detach().float())
                panoptic_preds.append(pred.panoptic)
                panoptic_targets.append(target)
                semantic_preds.append(pred.semantic)
                semantic_targets.append(target.category_map())
        if not valid_losses:
            return
        self.losses.update(torch.stack(valid_losses))
        self.classes.update(semantic_preds, semantic_targets)
        if self.segments is not None:
            self.segments.update(panoptic_preds, panoptic_targets)

    def compute(self) -> dict[str, Tensor]:
        """All scores as `val/<name>`, fractions, without absent classes; then reset the metrics."""
        # Sorted, so that the sum does not depend on the number of processes.
        losses = torch.as_tensor(self.losses.compute()).sort().values
        values = {"loss": losses.mean(), **self.classes.compute()}
        if self.segments is not None:
            values |= self.segments.compute()
            self.segments.reset()
        self.losses.reset()
        self.classes.reset()
        scores = {}
        for name, value in values.items():
            is_absent = name != "loss" and torch.isnan(value)
            if not is_absent:
                scores[f"val/{name}"] = value.float()
        return scores


def logged_scores(
    scores: Mapping[str, Tensor], monitor: str, num_classes: int
) -> dict[str, Tensor]:
    """The scores that become curves: `monitor`, the means, and each class if there are few.

    Args:
        scores: name -> scalar, as `Scores.compute` returns them.
        monitor: the score that decides; its classes are logged, not those of other scores.
        num_classes: of the category table; those with a score differ from epoch to epoch, but
            Lightning does not allow a score to be logged in one epoch only.
    """
    names = dict.fromkeys([monitor, *(f"val/{name}" for name in LOGGED)])
    metric = monitor.split("/")[1].removeprefix("m")  # val/mIoU is the mean of val/IoU/<class>
    classes = []
    for name in scores:
        is_class = name.startswith(f"val/{metric}/") and not name.startswith(f"val/{metric}/lost/")
        if is_class and name not in names:
            classes.append(name)
    if num_classes <= MAX_CLASSES:
        names |= dict.fromkeys(classes)
    return {name: scores[name] for name in names if name in scores}
