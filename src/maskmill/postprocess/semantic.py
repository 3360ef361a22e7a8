"""A class per pixel to segments."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import VOID_CATEGORY, VOID_ID, Panoptic
from maskmill.postprocess.calibration import UNCALIBRATED, Calibration
from maskmill.postprocess.outputs import ClassIndices, Floats, SemanticOutputs
from maskmill.postprocess.prediction import Prediction, Size

ROWS = 512  # processed at a time, because counting needs 16 bytes per pixel

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SegmentMap:
    """Segments 1..N of one image, with class indices.

    Args:
        ids: (H, W) int32; 0 is void.
        classes: (N,) class index of each segment.
        scores: (N,) score of each segment.
        confidence: (H, W) float32, the confidence of pixels in segments, if it is of their own.
    """

    ids: npt.NDArray[np.int32]
    classes: npt.NDArray[np.integer[Any]]
    scores: Doubles
    confidence: Floats | None = None


class ClassTable:
    """Converts class indices 0..K-1 to the category ids of the data set.

    Args:
        categories: of the data set.
        calibration: of confidences and scores; None: they are those of the network.
    """

    def __init__(self, categories: Categories, calibration: Calibration | None = None) -> None:
        self.categories = categories
        self.calibration = calibration or UNCALIBRATED
        category_ids = list(categories.ids)
        is_thing = categories.isthing.tolist()
        if categories.background_index is not None:
            category_ids.append(VOID_CATEGORY)
            is_thing.append(False)
        self.category_ids = np.array(category_ids, dtype=np.int32)  # (K,)
        self.is_thing = np.array(is_thing)  # (K,)

    def category_map(self, classes: ClassIndices) -> npt.NDArray[np.int32]:
        """Category ids (H, W) of class indices (H, W); background is -1."""
        return self.category_ids[classes]

    def panoptic(self, segments: SegmentMap) -> Panoptic:
        """Segments with category ids."""
        category_of = {}
        for segment_id, class_index in enumerate(segments.classes.tolist(), start=1):
            category_of[segment_id] = int(self.category_ids[class_index])
        scores = self.segment_scores(segments.scores)
        return Panoptic.from_ids(segments.ids, category_of, scores=scores)

    def segment_scores(self, scores: Doubles) -> dict[int, float]:
        """The calibrated scores (N,) of segments 1..N, by id."""
        calibrated = map(self.calibration.segment_score, scores.tolist())
        return dict(enumerate(calibrated, start=1))


class SemanticSegments:
    """The most likely class of each pixel; all pixels of a class are one segment.

    Args:
        calibration: of confidences and scores; None: they are those of the network.
        categories: of the data set.

    Example:
        >>> from maskmill.canonical.categories import Category
        >>> road = Category(7, "road", False, (128, 64, 128))
        >>> car = Category(26, "car", True, (0, 0, 142))
        >>> postprocess = SemanticSegments(categories=Categories([road, car]))
        >>> outputs = {"classes": np.array([[[0, 1]]]), "confidence": np.ones((1, 1, 2))}
        >>> postprocess(outputs, [(1, 2)])[0].semantic
        array([[ 7, 26]], dtype=int32)
    """

    def __init__(self, *, calibration: Calibration | None = None, categories: Categories) -> None:
        self.table = ClassTable(categories, calibration)
        num_classes = len(self.table.category_ids)
        is_void = self.table.category_ids == VOID_CATEGORY
        # Segment ids start at 1, because 0 is void.
        ids = np.arange(1, num_classes + 1, dtype=np.int32)
        self.id_of_class = np.where(is_void, VOID_ID, ids).astype(np.int32)  # (K,)

    def __call__(self, outputs: SemanticOutputs, sizes: Sequence[Size]) -> list[Prediction]:
        """One prediction per image.

        Args:
            outputs: for a batch.
            sizes: of the images, which may be padded at the right and bottom.
        """
        predictions = []
        for classes, confidence, (height, width) in zip(
            outputs["classes"], outputs["confidence"], sizes, strict=True
        ):
            prediction = self._predict(classes[:height, :width], confidence[:height, :width])
            predictions.append(prediction)
        return predictions

    def _predict(self, classes: ClassIndices, confidence: Floats) -> Prediction:
        category_of = {}
        for segment_id, category_id in enumerate(self.table.categories.ids, start=1):
            category_of[segment_id] = int(category_id)
        area, total_confidence = sum_per_class(classes, confidence, len(self.id_of_class))
        mean_confidence = total_confidence / np.maximum(area, 1)  # (K,)
        scores = self.table.segment_scores(mean_confidence)
        panoptic = Panoptic.from_ids(self.id_of_class[classes], category_of, scores=scores)
        return Prediction(self.table.category_map(classes), panoptic, confidence)


def sum_per_class(
    classes: ClassIndices, confidence: Floats, num_classes: int
) -> tuple[Ints, Doubles]:
    """Number of pixels and sum of confidence per class.

    Args:
        classes: (H, W) class indices.
        confidence: (H, W).
        num_classes: K.

    Returns:
        areas (K,) int64 and sums of confidence (K,) float64.
    """
    area = np.zeros(num_classes, np.int64)
    total = np.zeros(num_classes)
    for top in range(0, len(classes), ROWS):
        row_classes = classes[top : top + ROWS].ravel().astype(np.int64)
        row_confidence = confidence[top : top + ROWS].ravel()
        area += np.bincount(row_classes, minlength=num_classes)
        total += np.bincount(row_classes, row_confidence, minlength=num_classes)
    return area, total
