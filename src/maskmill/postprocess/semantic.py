"""Class logits to a class per pixel."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import VOID_CATEGORY, Panoptic
from maskmill.postprocess.prediction import Prediction


class ClassTable:
    """Class indices back to category ids: here the indices 0..K-1 end."""

    def __init__(self, categories: Categories) -> None:
        self.categories = categories
        background = [VOID_CATEGORY] if categories.background_index is not None else []
        self.category_ids = np.array([*categories.ids, *background], dtype=np.int32)

    def category_map(self, classes: Tensor) -> npt.NDArray[np.int32]:
        """Class indices (H, W) to category ids (H, W) int32; background is -1."""
        ids: npt.NDArray[np.int32] = self.category_ids[classes.cpu().numpy()]
        return ids


class SemanticSegments:
    """The likeliest class of each pixel; every class present is one segment.

    Args:
        categories: the data set's table.
    """

    def __init__(self, *, categories: Categories) -> None:
        self.table = ClassTable(categories)

    @torch.inference_mode()
    def __call__(self, outputs: Mapping[str, Tensor], sizes: Sequence[tuple[int, int]]) -> list[Prediction]:
        """Logits `semantic` (B, K, H, W) and the images' sizes within the batch to predictions."""
        parts = zip(outputs["semantic"].float(), sizes, strict=True)
        return [self._predict(logits[:, :height, :width]) for logits, (height, width) in parts]

    def _predict(self, logits: Tensor) -> Prediction:
        highest, classes = logits.max(dim=0)  # (H, W) each
        confidence = (highest - logits.logsumexp(dim=0)).exp()  # the softmax of the likeliest class alone
        semantic = self.table.category_map(classes)
        ids = np.where(semantic == VOID_CATEGORY, 0, classes.cpu().numpy() + 1)  # segment ids from 1: 0 is void
        category_of = {place + 1: int(category_id) for place, category_id in enumerate(self.table.categories.ids)}
        area, sure = class_sums(classes, confidence, len(self.table.category_ids))
        scores = {place + 1: sure[place] / area[place] for place in range(len(category_of)) if area[place]}
        return Prediction(semantic, Panoptic.from_ids(ids, category_of, scores=scores))


def class_sums(classes: Tensor, confidence: Tensor, num_classes: int) -> tuple[list[int], list[float]]:
    """Pixels of each class, and the sum of their confidence, from two maps (H, W): K of each."""
    flat = classes.flatten()
    area: list[int] = torch.bincount(flat, minlength=num_classes).tolist()
    sure: list[float] = torch.bincount(flat, confidence.flatten().double(), minlength=num_classes).tolist()
    return area, sure
