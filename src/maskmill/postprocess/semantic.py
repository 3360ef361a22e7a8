"""Class logits to a class per pixel."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import VOID_CATEGORY, Panoptic
from maskmill.postprocess.outputs import SemanticOutputs
from maskmill.postprocess.prediction import Prediction, Size

ROWS = 512  # processed at a time, because indexing and counting need eight bytes per pixel


@dataclass(frozen=True)
class SegmentMap:
    """Segments 1..N of one image, with class indices.

    Args:
        ids: (H, W) integers; 0 is void.
        classes: (N,) class index of each segment.
        scores: (N,) score of each segment.
    """

    ids: Tensor
    classes: Tensor
    scores: Tensor


class ClassTable:
    """Converts class indices 0..K-1 to the category ids of the data set.

    Args:
        categories: of the data set.
    """

    def __init__(self, categories: Categories) -> None:
        self.categories = categories
        category_ids = list(categories.ids)
        is_thing = categories.isthing.tolist()
        if categories.background_index is not None:
            category_ids.append(VOID_CATEGORY)
            is_thing.append(False)
        self.category_ids = np.array(category_ids, dtype=np.int32)  # (K,)
        self.is_thing = torch.tensor(is_thing)  # (K,)

    def category_map(self, classes: Tensor) -> npt.NDArray[np.int32]:
        """Category ids (H, W) of class indices (H, W); background is -1."""
        ids = np.empty(classes.shape, np.int32)
        for top in range(0, len(classes), ROWS):
            rows = classes[top : top + ROWS].cpu().numpy()
            ids[top : top + ROWS] = self.category_ids[rows]
        return ids

    def panoptic(self, segments: SegmentMap) -> Panoptic:
        """Segments with category ids."""
        ids = segments.ids.cpu().numpy().astype(np.int32, copy=False)
        category_of = {}
        for segment_id, class_index in enumerate(segments.classes.tolist(), start=1):
            category_of[segment_id] = int(self.category_ids[class_index])
        scores = dict(enumerate(segments.scores.tolist(), start=1))
        return Panoptic.from_ids(ids, category_of, scores=scores)


class SemanticSegments:
    """The most likely class of each pixel; all pixels of a class are one segment.

    Args:
        categories: of the data set.

    Example:
        >>> from maskmill.canonical.categories import Category
        >>> road = Category(7, "road", False, (128, 64, 128))
        >>> car = Category(26, "car", True, (0, 0, 142))
        >>> postprocess = SemanticSegments(categories=Categories([road, car]))
        >>> logits = torch.tensor([[[[2.0, 0.0]], [[0.0, 3.0]]]])  # (1, 2, 1, 2)
        >>> postprocess({"semantic": logits}, [(1, 2)])[0].semantic
        array([[ 7, 26]], dtype=int32)
    """

    def __init__(self, *, categories: Categories) -> None:
        self.table = ClassTable(categories)

    @torch.inference_mode()
    def __call__(self, outputs: SemanticOutputs, sizes: Sequence[Size]) -> list[Prediction]:
        """One prediction per image.

        Args:
            outputs: for a batch.
            sizes: of the images, which may be padded at the right and bottom.
        """
        classes, confidence = classify_pixels(outputs)  # (B, H, W) each
        predictions = []
        for image_classes, image_confidence, size in zip(classes, confidence, sizes, strict=True):
            height, width = size
            prediction = self._predict(
                image_classes[:height, :width], image_confidence[:height, :width]
            )
            predictions.append(prediction)
        return predictions

    def _predict(self, classes: Tensor, confidence: Tensor) -> Prediction:
        semantic = self.table.category_map(classes)
        # Segment ids start at 1, because 0 is void.
        ids = np.where(semantic == VOID_CATEGORY, 0, classes.cpu().numpy() + 1)
        category_of = {}
        for segment_id, category_id in enumerate(self.table.categories.ids, start=1):
            category_of[segment_id] = int(category_id)
        num_classes = len(self.table.category_ids)
        area, total_confidence = sum_per_class(classes, confidence, num_classes)
        mean_confidence = total_confidence / area.clamp(min=1)  # (K,)
        scores = dict(enumerate(mean_confidence.tolist(), start=1))
        return Prediction(semantic, Panoptic.from_ids(ids, category_of, scores=scores))


def classify_pixels(outputs: SemanticOutputs) -> tuple[Tensor, Tensor]:
    """The most likely class of each pixel and its probability.

    Returns:
        class indices (B, H, W) and probabilities (B, H, W) float32.
    """
    if "classes" in outputs:
        return outputs["classes"], outputs["confidence"]
    logits = outputs["semantic"].float()  # (B, K, H, W)
    highest, classes = logits.max(dim=1)
    log_prob = highest - logits.logsumexp(dim=1)  # log softmax of the most likely class only
    return classes, log_prob.exp()


def sum_per_class(classes: Tensor, confidence: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Number of pixels and sum of confidence per class.

    Args:
        classes: (H, W) class indices.
        confidence: (H, W).
        num_classes: K.

    Returns:
        areas (K,) int64 and sums of confidence (K,) float64.
    """
    area = torch.zeros(num_classes, dtype=torch.int64, device=classes.device)
    total = torch.zeros(num_classes, dtype=torch.float64, device=classes.device)
    for top in range(0, len(classes), ROWS):
        row_classes = classes[top : top + ROWS].flatten()
        row_confidence = confidence[top : top + ROWS].flatten().double()
        area += torch.bincount(row_classes, minlength=num_classes)
        total += torch.bincount(row_classes, row_confidence, minlength=num_classes)
    return area, total
