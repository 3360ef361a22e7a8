"""Predicted against target classes: one confusion matrix of the whole data set, and its scores."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import IGNORE_INDEX, Categories
from maskmill.canonical.panoptic import VOID_CATEGORY, VOID_ID
from maskmill.canonical.runs import IntMap, Overlaps, overlaps, relabel, run_lengths, run_starts
from maskmill.metrics.functional.ratios import mean_over_classes, ratio, sum_over_classes
from maskmill.metrics.functional.segment_matching import (
    Segmented,
    class_indices,
    require_same_size,
)

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Matrix = Ints
UNKNOWN = -1
Labels = npt.NDArray[np.int32] | Segmented  # category ids of pixels, or segments


def confusion_matrix(pred: Labels, target: Labels, categories: Categories) -> Matrix:
    """Count the pixels of every pair of classes in one image.

    Args:
        pred: category ids (H, W), -1 where nothing was predicted; or segments, whose classes are
            counted without making such a map.
        target: category ids (H, W), -1 where unlabelled; or segments.
        categories: gives the order of rows and columns.

    Returns:
        (K + 1, K + 1) int64: target in rows, prediction in columns, the last of each unlabelled.

    Raises:
        ValueError: the two differ in size, or contain a category that is not in the table.

    Example:
        >>> from maskmill.canonical.categories import Category
        >>> table = Categories([Category(7, "sea", False, (0, 0, 9))])
        >>> target = np.array([[7, 7, -1]], np.int32)
        >>> confusion_matrix(np.array([[7, -1, -1]], np.int32), target, table).tolist()
        [[1, 1], [0, 1]]
    """
    target_values = _index_of_values(target, categories)
    pred_values = _index_of_values(pred, categories)
    require_same_size(pred_values.map.shape, target_values.map.shape)
    shared = overlaps(target_values.map, pred_values.map)
    return confusion_of_overlaps(
        shared, pred_values.index, target_values.index, categories.num_classes
    )


def confusion_of_overlaps(
    shared: Overlaps,
    pred_index: Mapping[int, int],
    target_index: Mapping[int, int],
    num_classes: int,
) -> Matrix:
    """`confusion_matrix` from the pixels that pairs of values share.

    Args:
        shared: pixels of target values (first) and predicted values (second).
        pred_index: predicted value -> class index, or K for void.
        target_index: target value -> class index, or K for void.
        num_classes: K.

    Returns:
        (K + 1, K + 1) int64: target in rows, prediction in columns.

    Raises:
        ValueError: a value has no class index.
    """
    size = num_classes + 1
    row_of_value = _indices(shared.first, target_index)
    column_of_value = _indices(shared.second, pred_index)
    # for each pair:  matrix[row, column] += pixels
    cells = row_of_value[shared.rows] * size + column_of_value[shared.columns]
    pixels = np.bincount(cells, shared.pixels, minlength=size**2)  # float64: exact below 2**53
    return pixels.reshape(size, size).astype(np.int64)


def _indices(values: Ints, index: Mapping[int, int]) -> Ints:
    unknown = [value for value in values.tolist() if value not in index]
    if unknown:  # only a class mask can contain such values: segments state theirs
        raise ValueError(
            f"Expected category ids of the table, but got {unknown[:5]} - "
            "either correct the class mask or add the category"
        )
    return np.array([index[value] for value in values.tolist()], np.int64)


def index_confusion(pred: IntMap, target: IntMap, num_classes: int) -> Matrix:
    """`confusion_matrix` of class indices, the form of networks and their targets: the fastest way.

    Args:
        pred: (H, W), or (B, H, W), of any integer type: 0..K-1; K, -1 or 255 where nothing was
            predicted.
        target: the same shape; K, -1 or 255 where unlabelled.
        num_classes: K.

    Returns:
        (K + 1, K + 1) int64: target in rows, prediction in columns, the last of each unlabelled.

    Raises:
        ValueError: the two differ in shape, or contain another value.
    """
    if pred.shape != target.shape:
        raise ValueError(
            f"Expected predictions of the target's shape {target.shape}, but got {pred.shape} - "
            "predict at the target's size"
        )
    size = num_classes + 1
    starts = run_starts(target, pred)
    lengths = run_lengths(starts, target.size)
    rows = _matrix_rows(np.ascontiguousarray(target).reshape(-1).take(starts), num_classes)
    columns = _matrix_rows(np.ascontiguousarray(pred).reshape(-1).take(starts), num_classes)
    # for each run:  matrix[row, column] += length; in float64, which is exact below 2**53
    pixels = np.bincount(rows * size + columns, lengths, minlength=size**2)
    return pixels.reshape(size, size).astype(np.int64)


def _matrix_rows(values: IntMap, num_classes: int) -> Ints:
    """The row (or column) of the matrix in which each class index is counted."""
    row_of = np.full(IGNORE_INDEX + 2, UNKNOWN)  # of the values -1, 0, ... 255
    row_of[[0, num_classes + 1, IGNORE_INDEX + 1]] = num_classes
    row_of[1 : num_classes + 1] = np.arange(num_classes)
    positions = values.astype(np.int64) + 1
    in_range = positions.min() >= 0 and positions.max() < len(row_of)
    rows: Ints = row_of.take(positions, mode="raise" if in_range else "clip")
    if not in_range or rows.min() == UNKNOWN:
        known = {VOID_CATEGORY, IGNORE_INDEX, *range(num_classes + 1)}
        unknown = sorted(set(values.tolist()) - known)
        raise ValueError(
            f"Expected class indices 0..{num_classes - 1}, or -1, {num_classes} or 255 for void, "
            f"but got {unknown[:5]} - translate category ids to class indices"
        )
    return rows


def class_map(labels: Labels, categories: Categories) -> npt.NDArray[np.uint8]:
    """Class index 0..K-1 of every pixel, K where it has none: (H, W) uint8.

    Raises:
        ValueError: a class mask contains a category that is not in the table.
    """
    values = _index_of_values(labels, categories)
    indices = relabel(values.map, values.index, default=IGNORE_INDEX).astype(np.uint8)  # K < 255
    unknown = indices == IGNORE_INDEX
    if isinstance(labels, np.ndarray) and unknown.any():
        _indices(np.unique(labels[unknown]).astype(np.int64), values.index)
    return indices


@dataclass(frozen=True)
class _Values:
    """A map, and the class index of each of its values; K for void."""

    map: IntMap
    index: dict[int, int]


def _index_of_values(labels: Labels, categories: Categories) -> _Values:
    if isinstance(labels, np.ndarray):
        return _Values(labels, {VOID_CATEGORY: categories.num_classes} | categories.index)
    return _Values(labels.ids, class_indices_with_void(labels, categories))


def class_indices_with_void(panoptic: Segmented, categories: Categories) -> dict[int, int]:
    """Segment id -> class index 0..K-1, and K for void."""
    return {VOID_ID: categories.num_classes} | class_indices(panoptic, categories)


def class_areas(matrix: Matrix, *, background: bool) -> tuple[Ints, Ints]:
    """Pixels in the intersection and in the union of prediction and target, per class.

    Args:
        matrix: (K + 1, K + 1), summed over images.
        background: unlabelled target pixels are background; else they are not counted.

    Returns:
        intersection and union, (K,) int64 each.
    """
    counted = matrix if background else matrix[:-1]
    intersection = np.diagonal(matrix)[:-1]
    union = counted.sum(axis=0)[:-1] + matrix.sum(axis=1)[:-1] - intersection
    return intersection, union


@dataclass(frozen=True)
class SemanticCounts:
    """Pixels by class, summed over images, with any leading axes; the last entry is background.

    The background has no score of its own: it counts for the pixel accuracy alone, and is 0 where
    unlabelled target pixels are void.
    """

    intersection: npt.NDArray[np.number]  # (..., K + 1) predicted and target
    union: npt.NDArray[np.number]  # (..., K + 1) predicted or target
    target: npt.NDArray[np.number]  # (..., K + 1)

    @classmethod
    def from_matrix(cls, matrix: Matrix, *, background: bool) -> "SemanticCounts":
        """The counts of a confusion matrix, (K + 1, K + 1)."""
        intersection, union = class_areas(matrix, background=background)
        background_matched = matrix[-1, -1] if background else 0
        background_target = matrix[-1].sum() if background else 0
        return cls(
            np.append(intersection, background_matched),
            np.append(union, 0),
            np.append(matrix[:-1].sum(axis=1), background_target),
        )


def semantic_means(counts: SemanticCounts) -> dict[str, Floats]:
    """The scores of whole data sets; see `semantic_scores`.

    Args:
        counts: summed over images, with any leading axes.

    Returns:
        "mIoU", "Dice", "fwIoU" and "pixel_accuracy" -> (...); NaN without a labelled pixel.
    """
    intersection = counts.intersection[..., :-1]
    union = counts.union[..., :-1]
    target = counts.target[..., :-1]
    iou = ratio(intersection, union)
    weighted_iou = sum_over_classes(np.asarray(iou * target, np.float64))
    return {
        "mIoU": mean_over_classes(iou),
        "Dice": mean_over_classes(dice(intersection, union)),
        "fwIoU": ratio(weighted_iou, target.sum(axis=-1)),
        "pixel_accuracy": ratio(counts.intersection.sum(axis=-1), counts.target.sum(axis=-1)),
    }


def semantic_scores(matrix: Matrix, *, background: bool) -> dict[str, float]:
    """Scores of a whole data set: ratios of pixels summed over all its images.

    Everingham et al., IJCV 2010, sec. 4.3.3.

    Args:
        matrix: (K + 1, K + 1), summed over images.
        background: unlabelled target pixels are background: predictions there are wrong, and
            leaving them without a class is right.

    Returns:
        "mIoU" and "Dice" over the classes that occur in target or prediction, "fwIoU" weighted by
        the target's pixels, "pixel_accuracy"; fractions, NaN without a labelled pixel.
    """
    means = semantic_means(SemanticCounts.from_matrix(matrix, background=background))
    return {name: float(mean) for name, mean in means.items()}


def intersection_over_union(
    intersection: npt.NDArray[np.number], union: npt.NDArray[np.number]
) -> Floats:
    """IoU per class, (..., K); NaN for a class that occurs neither in target nor in prediction."""
    return ratio(intersection, union)


def mean_iou(intersection: npt.NDArray[np.number], union: npt.NDArray[np.number]) -> float:
    """The mean IoU over the classes (K,) that occur in target or prediction; NaN if none does."""
    return float(mean_over_classes(ratio(intersection, union)))


def dice(intersection: npt.NDArray[np.number], union: npt.NDArray[np.number]) -> Floats:
    """Dice coefficient per class, (..., K): `2 |A & B| / (|A| + |B|)`.

    NaN for a class that occurs neither in target nor in prediction.
    """
    return ratio(2 * intersection, union + intersection)
