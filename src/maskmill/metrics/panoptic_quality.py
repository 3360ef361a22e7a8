"""Panoptic quality from the definition, in numpy (Kirillov et al., CVPR 2019, arXiv:1801.00868)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import VOID_ID, Panoptic, Segment
from maskmill.canonical.runs import joint_histogram

Counts = npt.NDArray[np.float64]  # (K, 4): sum of IoU over matches, tp, fp, fn
MATCH_IOU = 0.5  # exclusive: above it a match is unique
FORGIVEN_SHARE = 0.5  # exclusive: an unmatched prediction lying on void or crowd with more of its area is not counted


def match_segments(pred: Panoptic, target: Panoptic, categories: Categories, *, background: bool) -> Counts:
    """Count matched and unmatched segments of one image, per category.

    A pair matches when both have the category and IoU > 0.5; such a match is unique. Target void is taken out of the union, and an
    unmatched prediction lying mostly on void or on crowds of its category is forgiven. Eq. 1 and sec. 4 of the paper; void and crowds as
    in COCO's panopticapi. Several crowds of one category in an image count together.

    Args:
        pred: ids (H, W); its void counts against it.
        target: ids (H, W), same size; may contain void and crowds.
        categories: gives the order of the rows.
        background: the target's unlabelled pixels are background, not void: they stay in the union and forgive nothing.

    Returns:
        (K, 4) float64: sum of IoU over matches, tp, fp, fn (segments, not pixels).

    Raises:
        ValueError: the maps differ in size.
    """
    if pred.size != target.size:
        raise ValueError(f"Expected a prediction of the target's size {target.size}, but got {pred.size} - predict at the original size")
    target_ids, pred_ids, shared = joint_histogram(target.ids, pred.ids)
    truth, guess = _Table(target.segments, categories), _Table(pred.segments, categories)
    rows, columns = truth.places(target_ids), guess.places(pred_ids)
    on_void = np.zeros(len(guess.area), np.int64)
    if not background:
        np.add.at(on_void, columns[target_ids == VOID_ID], shared[target_ids == VOID_ID])
    union = truth.area[rows] + guess.area[columns] - shared - on_void[columns]
    same = (truth.index[rows] == guess.index[columns]) & (truth.index[rows] >= 0)
    iou = np.where(same & ~truth.iscrowd[rows], shared / np.maximum(union, 1), 0.0)
    match = iou > MATCH_IOU
    on_crowd = np.zeros(len(guess.area), np.int64)
    np.add.at(on_crowd, columns[same & truth.iscrowd[rows]], shared[same & truth.iscrowd[rows]])
    forgiven = (on_void + on_crowd) / np.maximum(guess.area, 1) > FORGIVEN_SHARE
    matched_truth, matched_guess = np.zeros(len(truth.area), bool), np.zeros(len(guess.area), bool)
    matched_truth[rows[match]], matched_guess[columns[match]] = True, True
    missed = ~matched_truth & ~truth.iscrowd & (truth.index >= 0)
    spurious = ~matched_guess & ~forgiven & (guess.index >= 0)
    num = categories.num_classes
    matched_index = truth.index[rows[match]]
    columns_of_counts = [
        np.bincount(matched_index, weights=iou[match], minlength=num),
        np.bincount(matched_index, minlength=num),
        np.bincount(guess.index[spurious], minlength=num),
        np.bincount(truth.index[missed], minlength=num),
    ]
    return np.stack(columns_of_counts, axis=1).astype(np.float64)


def panoptic_scores(counts: Counts, categories: Categories) -> dict[str, float]:
    """PQ, SQ and RQ of all categories, of things and of stuff, averaged over the categories that occur.

    Args:
        counts: (K, 4), summed over images.
        categories: which rows are things.

    Returns:
        "PQ", "SQ", "RQ", and each with "/thing" and "/stuff": fractions; NaN where no category of the kind occurs.
    """
    per_class = panoptic_per_class(counts)
    occurs = counts[:, 1:].sum(axis=1) > 0
    groups = {"": np.ones(len(counts), bool), "/thing": categories.isthing, "/stuff": ~categories.isthing}
    scores: dict[str, float] = {}
    for suffix, group in groups.items():
        rows = per_class[occurs & group]
        means = rows.mean(axis=0) if len(rows) else np.full(3, np.nan)
        scores |= {f"{name}{suffix}": float(mean) for name, mean in zip(("PQ", "SQ", "RQ"), means, strict=True)}
    return scores


def panoptic_per_class(counts: Counts) -> npt.NDArray[np.float64]:
    """PQ, SQ, RQ of each category, (K, 3); SQ is 0 without a match, all are NaN where the category does not occur."""
    iou_sum, tp, fp, fn = counts.T
    segments = tp + fp / 2 + fn / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        sq = np.where(tp > 0, iou_sum / tp, 0.0)
        table = np.stack([iou_sum / segments, sq, tp / segments], axis=1)
    table[segments == 0] = np.nan
    return table


class _Table:
    """Segments as columns, by ascending id, the first row being void: class index -1 and no area."""

    def __init__(self, segments: Sequence[Segment], categories: Categories) -> None:
        ordered = sorted(segments, key=lambda segment: segment.id)
        self.ids = np.array([VOID_ID, *(segment.id for segment in ordered)])
        self.index = np.array([-1, *(categories.index[segment.category_id] for segment in ordered)])
        self.area = np.array([0, *(segment.area for segment in ordered)])
        self.iscrowd = np.array([False, *(segment.iscrowd for segment in ordered)])

    def places(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The rows of some ids."""
        return np.searchsorted(self.ids, ids)
