"""Class maps against class maps: one confusion matrix of the whole data set, and what follows from it."""

import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import IGNORE_INDEX, Categories
from maskmill.canonical.panoptic import VOID_CATEGORY, VOID_ID, Panoptic
from maskmill.canonical.runs import IntMap, Overlaps, overlaps, relabel, run_lengths, run_starts

Matrix = npt.NDArray[np.int64]
UNKNOWN = -1
Labels = npt.NDArray[np.int32] | Panoptic  # category ids of pixels, or segments


def confusion_matrix(pred: Labels, target: Labels, categories: Categories) -> Matrix:
    """Count the pixels of every pair of classes in one image.

    Args:
        pred: category ids (H, W), -1 where nothing was predicted; or segments, whose classes are counted without such a map.
        target: category ids (H, W), -1 where unlabelled; or segments.
        categories: gives the order of rows and columns.

    Returns:
        (K + 1, K + 1) int64: target in rows, prediction in columns, the last of each unlabelled.

    Raises:
        ValueError: the two differ in size, or hold a category that is not in the table.
    """
    (true_map, true_place), (pred_map, pred_place) = (
        _coded(target, categories),
        _coded(pred, categories),
    )
    if pred_map.shape != true_map.shape:
        raise ValueError(
            f"Expected a prediction of the target's size {true_map.shape}, but got {pred_map.shape} - predict at the original size"
        )
    return _matrix(overlaps(true_map, pred_map), true_place, pred_place, categories.num_classes)


def index_confusion(pred: IntMap, target: IntMap, num_classes: int) -> Matrix:
    """`confusion_matrix` of maps of class indices, as networks and their targets have them: the shortest way.

    Args:
        pred: (H, W), or (B, H, W), of any integer type: 0..K-1; K, -1 or 255 where nothing was predicted.
        target: the same shape; K, -1 or 255 where unlabelled.
        num_classes: K.

    Returns:
        (K + 1, K + 1) int64: target in rows, prediction in columns, the last of each unlabelled.

    Raises:
        ValueError: the two differ in shape, or hold another value.
    """
    if pred.shape != target.shape:
        raise ValueError(
            f"Expected predictions of the target's shape {target.shape}, but got {pred.shape} - predict at the target's size"
        )
    starts = run_starts(target, pred)
    rows, columns = (
        _rows(np.ascontiguousarray(side).reshape(-1).take(starts), num_classes)
        for side in (target, pred)
    )
    size = num_classes + 1
    pixels = np.bincount(
        rows * size + columns, run_lengths(starts, target.size), minlength=size**2
    )  # float64: exact below 2**53
    return pixels.reshape(size, size).astype(np.int64)


def _rows(values: IntMap, num_classes: int) -> Matrix:
    """The row of the matrix that each class index counts in."""
    table = np.full(IGNORE_INDEX + 2, UNKNOWN)  # of -1, 0, ... 255
    table[[0, num_classes + 1, IGNORE_INDEX + 1]] = num_classes
    table[1 : num_classes + 1] = np.arange(num_classes)
    places = values.astype(np.int64) + 1
    fitting = places.min() >= 0 and places.max() < len(table)
    rows: Matrix = table.take(places, mode="raise" if fitting else "clip")
    if not fitting or rows.min() == UNKNOWN:
        wrong = sorted(
            set(values.tolist()) - {VOID_CATEGORY, IGNORE_INDEX, *range(num_classes + 1)}
        )
        raise ValueError(
            f"Expected class indices 0..{num_classes - 1}, or -1, {num_classes} or 255 for void, but got {wrong[:5]}"
        )
    return rows


def _matrix(
    shared: Overlaps, true_place: dict[int, int], pred_place: dict[int, int], num_classes: int
) -> Matrix:
    size = num_classes + 1
    rows, columns = (
        _indices(shared.first, true_place)[shared.rows],
        _indices(shared.second, pred_place)[shared.columns],
    )
    pixels = np.bincount(
        rows * size + columns, shared.pixels, minlength=size**2
    )  # float64: exact below 2**53
    return pixels.reshape(size, size).astype(np.int64)


def class_map(labels: Labels, categories: Categories) -> npt.NDArray[np.uint8]:
    """Class index 0..K-1 of every pixel, K where there is none: (H, W) uint8.

    Raises:
        ValueError: a class map holds a category that is not in the table.
    """
    values, place = _coded(labels, categories)
    indices = relabel(values, place, default=IGNORE_INDEX).astype(np.uint8)  # K is below it
    if not isinstance(labels, Panoptic) and (unknown := indices == IGNORE_INDEX).any():
        found = np.unique(labels[unknown])[:5].tolist()
        raise ValueError(
            f"Expected category ids of the table, but got {found} - mend the class map"
        )
    return indices


def _coded(labels: Labels, categories: Categories) -> tuple[IntMap, dict[int, int]]:
    """A map, and which row of the matrix each of its values counts in."""
    if isinstance(labels, Panoptic):
        return labels.ids, {VOID_ID: categories.num_classes} | {
            key: categories.index[value] for key, value in labels.category_of.items()
        }
    return labels, {VOID_CATEGORY: categories.num_classes} | categories.index


def _indices(values: Matrix, place: dict[int, int]) -> Matrix:
    unknown = [value for value in values.tolist() if value not in place]
    if unknown:  # only a class map can hold such values: segments name theirs
        raise ValueError(
            f"Expected category ids of the table, but got {unknown[:5]} - mend the class map"
        )
    return np.array([place[value] for value in values.tolist()], np.int64)


def class_areas(matrix: Matrix, *, background: bool) -> tuple[Matrix, Matrix]:
    """Pixels right and pixels in the union of prediction and target, per class: two (K,) int64.

    Pixels whose target is unlabelled count only where they are background.
    """
    counted = matrix if background else matrix[:-1]
    right = np.diagonal(matrix)[:-1]
    return right, counted.sum(axis=0)[:-1] + matrix.sum(axis=1)[:-1] - right


def semantic_scores(matrix: Matrix, *, background: bool) -> dict[str, float]:
    """Scores of a whole data set (Everingham et al., IJCV 2010, sec. 4.3.3, for the IoU over all its pixels at once).

    Args:
        matrix: (K + 1, K + 1), summed over images.
        background: unlabelled target pixels are background: predictions there are wrong, and nothing predicted there is right.

    Returns:
        "mIoU" and "Dice" over the categories that occur in target or prediction, "fwIoU" weighted by the target's pixels,
        "pixel_accuracy"; fractions, NaN without a labelled pixel.
    """
    right, union = class_areas(matrix, background=background)
    target, present = matrix.sum(axis=1), union > 0
    all_right = int(right.sum() + (matrix[-1, -1] if background else 0))
    labelled, of_classes = (
        int(target.sum() if background else target[:-1].sum()),
        int(target[:-1].sum()),
    )
    weighted = (intersection_over_union(right, union)[present] * target[:-1][present]).sum()
    nan = float("nan")
    return {
        "mIoU": mean_iou(right, union),
        "Dice": float(dice(right, union)[present].mean()) if present.any() else nan,
        "fwIoU": float(weighted / of_classes) if of_classes else nan,
        "pixel_accuracy": all_right / labelled if labelled else nan,
    }


def intersection_over_union(right: Matrix, union: Matrix) -> npt.NDArray[np.float64]:
    """IoU per class, (K,); NaN for a class that occurs neither in target nor in prediction."""
    return np.where(union > 0, right / np.maximum(union, 1), np.nan)


def mean_iou(right: Matrix, union: Matrix) -> float:
    """The mean over the classes that occur in target or prediction; NaN where none does."""
    present = union > 0
    return float((right[present] / union[present]).mean()) if present.any() else float("nan")


def dice(right: Matrix, union: Matrix) -> npt.NDArray[np.float64]:
    """Dice coefficient per class, (K,): twice the common pixels over those of both sides together; NaN as for IoU."""
    return np.where(union > 0, 2 * right / np.maximum(union + right, 1), np.nan)
