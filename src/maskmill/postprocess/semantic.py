"""Class logits to a class per pixel."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import VOID_CATEGORY, Panoptic
from maskmill.postprocess.prediction import Prediction

ROWS = 512  # of an image looked at together, since indexing and counting take eight bytes a pixel


class ClassTable:
    """Class indices back to category ids: here the indices 0..K-1 end."""

    def __init__(self, categories: Categories) -> None:
        self.categories = categories
        background = [VOID_CATEGORY] if categories.background_index is not None else []
        self.category_ids = np.array([*categories.ids, *background], dtype=np.int32)

    def category_map(self, classes: Tensor) -> npt.NDArray[np.int32]:
        """Class indices (H, W) to category ids (H, W) int32; background is -1."""
        ids = np.empty(classes.shape, np.int32)
        for top in range(0, len(classes), ROWS):
            ids[top : top + ROWS] = self.category_ids[classes[top : top + ROWS].cpu().numpy()]
        return ids


class SemanticSegments:
    """The likeliest class of each pixel; every class present is one segment.

    Args:
        categories: the data set's table.
    """

    def __init__(self, *, categories: Categories) -> None:
        self.table = ClassTable(categories)

    @torch.inference_mode()
    def __call__(
        self, outputs: Mapping[str, Tensor], sizes: Sequence[tuple[int, int]]
    ) -> list[Prediction]:
        """`semantic` (B, K, H, W), or what `likeliest` makes of it, and the images' sizes within the batch to predictions."""
        parts = zip(*likeliest(outputs), sizes, strict=True)
        return [
            self._predict(classes[:height, :width], confidence[:height, :width])
            for classes, confidence, (height, width) in parts
        ]

    def _predict(self, classes: Tensor, confidence: Tensor) -> Prediction:
        semantic = self.table.category_map(classes)
        ids = np.where(
            semantic == VOID_CATEGORY, 0, classes.cpu().numpy() + 1
        )  # segment ids from 1: 0 is void
        category_of = {
            place + 1: int(category_id)
            for place, category_id in enumerate(self.table.categories.ids)
        }
        area, sure = class_sums(classes, confidence, len(self.table.category_ids))
        scores = dict(enumerate((sure / area.clamp(min=1)).tolist(), start=1))
        return Prediction(semantic, Panoptic.from_ids(ids, category_of, scores=scores))


def likeliest(outputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The likeliest class of each pixel and its probability.

    Args:
        outputs: logits `semantic` (B, K, H, W); or `classes` and `confidence` as they come from here, where a sliding window
            did not keep the logits of a large image.

    Returns:
        class indices (B, H, W), probabilities (B, H, W) float32.
    """
    if "classes" in outputs:
        return outputs["classes"], outputs["confidence"]
    logits = outputs["semantic"].float()
    highest, classes = logits.max(dim=1)
    return classes, (
        highest - logits.logsumexp(dim=1)
    ).exp()  # the softmax of the likeliest class alone


def class_sums(classes: Tensor, confidence: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Pixels of each class (K,) int64, and the sum of their confidence (K,) float64, from two maps (H, W)."""
    area = torch.zeros(num_classes, dtype=torch.int64, device=classes.device)
    sure = torch.zeros(num_classes, dtype=torch.float64, device=classes.device)
    for rows, sures in zip(classes.split(ROWS), confidence.split(ROWS), strict=True):
        area += torch.bincount(rows.flatten(), minlength=num_classes)
        sure += torch.bincount(rows.flatten(), sures.flatten().double(), minlength=num_classes)
    return area, sure
