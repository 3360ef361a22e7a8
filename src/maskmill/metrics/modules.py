"""The pure functions as torchmetrics metrics: merge across processes, survive checkpoints, work in any Lightning module."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.metrics.confusion import Labels, class_areas, confusion_matrix, intersection_over_union, semantic_scores
from maskmill.metrics.mask_ap import ImageThings, ap_of_images, coco_results, coco_things
from maskmill.metrics.panoptic_quality import match_segments, panoptic_per_class, panoptic_scores


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
        self.add_state("counts", torch.zeros(categories.num_classes, 4, dtype=torch.float64), dist_reduce_fx="sum")

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


class MaskAP(Metric):
    """AP, AP50 and the other numbers of COCO for masks, by its own evaluator; see `mask_ap`.

    Args:
        categories: the data set's table; its things are the classes.
        kwargs: of torchmetrics.Metric.
    """

    full_state_update = False
    lines: list[Tensor]

    def __init__(self, categories: Categories, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(**kwargs)
        self.categories = categories
        # Each image is a line of JSON, as bytes: what torchmetrics can gather from processes that saw different numbers of objects.
        self.add_state("lines", [], dist_reduce_fx="cat")

    def update(self, preds: Sequence[Panoptic], target: Sequence[Panoptic]) -> None:
        """Count images.

        Args:
            preds: one per image; their segments carry scores, 1 where they do not.
            target: of the same images.
        """
        for pred, truth in zip(preds, target, strict=True):
            line = json.dumps([truth.size, list(coco_things(truth, self.categories)), list(coco_results(pred, self.categories))]) + "\n"
            self.lines.append(torch.frombuffer(bytearray(line.encode()), dtype=torch.uint8).to(self.device))

    def compute(self) -> dict[str, Tensor]:
        """The twelve numbers, and "AP/<category>" of each thing; float64 fractions, NaN for what the truth has nothing of."""
        text = dim_zero_cat(self.lines).cpu().numpy().tobytes().decode() if len(self.lines) else ""  # one tensor after gathering
        images, results = [], []
        # Among equal scores the evaluator takes the earlier image first: sorted, so that batches and processes change nothing.
        for number, line in enumerate(sorted(text.splitlines()), start=1):
            size, things, guesses = json.loads(line)
            images.append(ImageThings(number, (size[0], size[1]), things))
            results += [guess | {"image_id": number} for guess in guesses]
        done = ap_of_images(images, results, self.categories)
        scores = {f"AP/{self.categories[category_id].name}": value for category_id, value in done.per_class.items()}
        scores |= done.numbers  # last: a category may be called "small"
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in scores.items()}
