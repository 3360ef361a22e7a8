"""Class maps against class maps: one confusion matrix of the whole data set, and what follows from it."""

import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import VOID_CATEGORY, VOID_ID, Panoptic
from maskmill.canonical.runs import joint_histogram, relabel

Matrix = npt.NDArray[np.int64]
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
    (true_map, true_place), (pred_map, pred_place) = _coded(target, categories), _coded(pred, categories)
    if pred_map.shape != true_map.shape:
        raise ValueError(
            f"Expected a prediction of the target's size {true_map.shape}, but got {pred_map.shape} - predict at the original size"
        )
    true_values, pred_values, pixels = joint_histogram(true_map, pred_map)
    matrix = np.zeros((categories.num_classes + 1,) * 2, np.int64)
    np.add.at(matrix, (_indices(true_values, true_place), _indices(pred_values, pred_place)), pixels)
    return matrix


def class_map(labels: Labels, categories: Categories) -> npt.NDArray[np.uint8]:
    """Class index 0..K-1 of every pixel, K where there is none: (H, W) uint8.

    Raises:
        ValueError: a class map holds a category that is not in the table.
    """
    if isinstance(labels, Panoptic):
        table = {key: categories.index[value] for key, value in labels.category_of.items()}
        return relabel(labels.ids, table, default=categories.num_classes).astype(np.uint8)
    unknown = sorted(set(np.unique(labels).tolist()) - {VOID_CATEGORY, *categories.index})
    if unknown:
        raise ValueError(f"Expected category ids of the table, but got {unknown[:5]} - mend the class map")
    return relabel(labels, categories.index, default=categories.num_classes).astype(np.uint8)


def _coded(labels: Labels, categories: Categories) -> tuple[npt.NDArray[np.int32], dict[int, int]]:
    """A map of values from 0, as the histogram wants them, and which row of the matrix each value counts in."""
    if isinstance(labels, Panoptic):
        return labels.ids, {VOID_ID: categories.num_classes} | {key: categories.index[value] for key, value in labels.category_of.items()}
    lowest = int(labels.min())
    if lowest < VOID_CATEGORY:
        raise ValueError(f"Expected category ids of the table, but got [{lowest}] - mend the class map")
    return labels + 1, {0: categories.num_classes} | {category_id + 1: index for category_id, index in categories.index.items()}


def _indices(values: npt.NDArray[np.int64], place: dict[int, int]) -> list[int]:
    unknown = {int(value) for value in values} - place.keys()
    if unknown:  # only a class map can hold such values: segments name theirs
        raise ValueError(f"Expected category ids of the table, but got {sorted(value - 1 for value in unknown)[:5]} - mend the class map")
    return [place[int(value)] for value in values]


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
        "mIoU" over the categories that occur in target or prediction, "fwIoU" weighted by the target's pixels, "pixel_accuracy";
        fractions, NaN without a labelled pixel.
    """
    right, union = class_areas(matrix, background=background)
    target = matrix.sum(axis=1)
    iou = intersection_over_union(right, union)
    all_right = int(right.sum() + (matrix[-1, -1] if background else 0))
    labelled = int(target.sum() if background else target[:-1].sum())
    nan = float("nan")
    return {
        "mIoU": mean_iou(right, union),
        "fwIoU": float(np.nansum(iou * target[:-1]) / target[:-1].sum()) if target[:-1].sum() else nan,
        "pixel_accuracy": all_right / labelled if labelled else nan,
    }


def intersection_over_union(right: Matrix, union: Matrix) -> npt.NDArray[np.float64]:
    """IoU per class, (K,); NaN for a class that occurs neither in target nor in prediction."""
    return np.where(union > 0, right / np.maximum(union, 1), np.nan)


def mean_iou(right: Matrix, union: Matrix) -> float:
    """The mean over the classes that occur in target or prediction; NaN where none does."""
    return float(np.nanmean(intersection_over_union(right, union))) if (union > 0).any() else float("nan")
