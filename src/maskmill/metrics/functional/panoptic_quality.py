"""Panoptic quality from its definition, in NumPy (Kirillov et al., CVPR 2019, arXiv:1801.00868)."""

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.metrics.functional.ratios import group_means, ratio
from maskmill.metrics.functional.segment_matching import (
    Matches,
    SegmentOutcome,
    Segments,
    find_matches,
)

Floats = npt.NDArray[np.float64]
Counts = Floats  # (..., K, 8): the columns of PanopticCount


class PanopticCount(IntEnum):
    """The columns of panoptic counts, per class: segments, not pixels."""

    IOU_SUM = 0  # over the matches
    TP = 1
    FP = 2
    FN = 3
    FP_CLASSIFICATION = 4  # those of FP that match a target segment of another class
    FP_LOCALIZATION = 5  # those of FP that overlap one of their class, but too little
    FN_CLASSIFICATION = 6  # those of FN that match a predicted segment of another class
    FN_LOCALIZATION = 7  # those of FN that overlap one of their class, but too little


class PanopticScore(IntEnum):
    """The columns of `panoptic_per_class`."""

    PQ = 0
    SQ = 1
    RQ = 2


LOSSES = ("missed", "background", "classification", "localization")


def match_segments(
    pred: Panoptic,
    target: Panoptic,
    categories: Categories,
    *,
    background: bool,
    void_in_union: bool = False,
) -> Counts:
    """Count matched and unmatched segments of one image, per class.

    Args:
        pred: ids (H, W); its void counts against it.
        target: ids (H, W), same size; may contain void and crowds.
        categories: gives the class indices.
        background: unlabelled target pixels are background and not void; see `find_matches`.
        void_in_union: target void stays in the union; see `find_matches`.

    Returns:
        (K, 8) float64, the columns of `PanopticCount`.

    Raises:
        ValueError: the maps differ in size.

    Example:
        >>> from maskmill.canonical.categories import Category
        >>> table = Categories([Category(7, "cell", True, (200, 0, 0))])
        >>> target = Panoptic.from_ids(np.array([[1, 1, 1, 1]]), {1: 7})
        >>> pred = Panoptic.from_ids(np.array([[1, 1, 1, 0]]), {1: 7})
        >>> match_segments(pred, target, table, background=True)[0, :4].tolist()
        [0.75, 1.0, 0.0, 0.0]
    """
    matches = find_matches(
        pred, target, categories, background=background, void_in_union=void_in_union
    )
    return count_matches(matches, categories.num_classes)


def count_matches(matches: Matches, num_classes: int) -> Counts:
    """Count the segments of each class by their outcome.

    Args:
        matches: those of one image.
        num_classes: K.

    Returns:
        (K, 8) float64, the columns of `PanopticCount`.
    """
    # for each segment:  counts[class of segment, column of its outcome] += 1
    pred = _count_outcomes(matches.pred, num_classes)
    target = _count_outcomes(matches.target, num_classes)
    matched_iou = matches.target.iou * (matches.target.outcome == SegmentOutcome.MATCHED)
    fp_classification = pred[:, SegmentOutcome.CLASSIFICATION_ERROR]
    fp_localization = pred[:, SegmentOutcome.LOCALIZATION_ERROR]
    fn_classification = target[:, SegmentOutcome.CLASSIFICATION_ERROR]
    fn_localization = target[:, SegmentOutcome.LOCALIZATION_ERROR]
    false_positives = pred[:, SegmentOutcome.BACKGROUND_ERROR] + fp_classification + fp_localization
    false_negatives = target[:, SegmentOutcome.MISSED] + fn_classification + fn_localization

    counts = np.empty((num_classes, len(PanopticCount)))
    counts[:, PanopticCount.IOU_SUM] = np.bincount(
        matches.target.index, matched_iou, minlength=num_classes
    )
    counts[:, PanopticCount.TP] = target[:, SegmentOutcome.MATCHED]
    counts[:, PanopticCount.FP] = false_positives
    counts[:, PanopticCount.FN] = false_negatives
    counts[:, PanopticCount.FP_CLASSIFICATION] = fp_classification
    counts[:, PanopticCount.FP_LOCALIZATION] = fp_localization
    counts[:, PanopticCount.FN_CLASSIFICATION] = fn_classification
    counts[:, PanopticCount.FN_LOCALIZATION] = fn_localization
    return counts


def _count_outcomes(segments: Segments, num_classes: int) -> npt.NDArray[np.int64]:
    """Segments of each class and outcome, (K, number of outcomes)."""
    num_outcomes = len(SegmentOutcome)
    code = segments.index * num_outcomes + segments.outcome
    return np.bincount(code, minlength=num_classes * num_outcomes).reshape(-1, num_outcomes)


def num_segments(counts: Counts) -> Floats:
    """The denominator of PQ, tp + fp/2 + fn/2: (..., K, 8) -> (..., K)."""
    tp = counts[..., PanopticCount.TP]
    fp = counts[..., PanopticCount.FP]
    fn = counts[..., PanopticCount.FN]
    segments: Floats = tp + fp / 2 + fn / 2
    return segments


def panoptic_per_class(counts: Counts) -> Floats:
    """PQ, SQ and RQ of each class.

    Args:
        counts: (..., K, 8), summed over images.

    Returns:
        (..., K, 3), the columns of `PanopticScore`: fractions. SQ is 0 without a match; all three
        are NaN where the class does not occur.
    """
    iou_sum = counts[..., PanopticCount.IOU_SUM]
    tp = counts[..., PanopticCount.TP]
    segments = num_segments(counts)
    scores = np.empty((*segments.shape, len(PanopticScore)))
    scores[..., PanopticScore.PQ] = ratio(iou_sum, segments)
    scores[..., PanopticScore.SQ] = np.where(tp > 0, ratio(iou_sum, tp), 0.0)
    scores[..., PanopticScore.RQ] = ratio(tp, segments)
    scores[~(segments > 0)] = np.nan
    return scores


def panoptic_losses(counts: Counts) -> Floats:
    """What each class's PQ lacks to 1, by reason.

    PQ = iou_sum / (tp + fp/2 + fn/2), so 1 - PQ = ((tp - iou_sum) + fp/2 + fn/2) / (tp + fp/2 +
    fn/2): half a segment for each false positive and each missed one, and what the matched ones
    lack of IoU 1, which is a localization error.

    Args:
        counts: (..., K, 8), summed over images.

    Returns:
        (..., K, 4), in the order of `LOSSES`: fractions; NaN where the class does not occur.
    """
    iou_sum = counts[..., PanopticCount.IOU_SUM]
    tp = counts[..., PanopticCount.TP]
    fp_classification = counts[..., PanopticCount.FP_CLASSIFICATION]
    fp_localization = counts[..., PanopticCount.FP_LOCALIZATION]
    fn_classification = counts[..., PanopticCount.FN_CLASSIFICATION]
    fn_localization = counts[..., PanopticCount.FN_LOCALIZATION]
    fp_background = counts[..., PanopticCount.FP] - fp_classification - fp_localization
    fn_missed = counts[..., PanopticCount.FN] - fn_classification - fn_localization
    lost = [
        fn_missed / 2,
        fp_background / 2,
        (fp_classification + fn_classification) / 2,
        tp - iou_sum + (fp_localization + fn_localization) / 2,
    ]
    return ratio(np.stack(lost, axis=-1), num_segments(counts)[..., None])


def panoptic_means(counts: Counts, isthing: npt.NDArray[np.bool_]) -> dict[str, Floats]:
    """PQ, SQ and RQ of all classes, of things and of stuff, and what PQ lacks to 1.

    Args:
        counts: (..., K, 8), summed over images.
        isthing: (K,) which classes are things.

    Returns:
        the names of `panoptic_scores` -> (...): averages over the classes that occur, NaN where no
        class of the kind occurs; and "PQ/class" -> (..., K).
    """
    per_class = np.concatenate([panoptic_per_class(counts), panoptic_losses(counts)], axis=-1)
    groups = np.stack([np.ones(len(isthing), bool), isthing, ~isthing])  # (G, K)
    means = group_means(per_class, num_segments(counts) > 0, groups)  # (..., G, 7)
    scores: dict[str, Floats] = {}
    for group, suffix in enumerate(("", "/thing", "/stuff")):
        for score in PanopticScore:
            scores[f"{score.name}{suffix}"] = means[..., group, score]
    scores["PQ/class"] = per_class[..., PanopticScore.PQ]
    for column, name in enumerate(LOSSES, start=len(PanopticScore)):
        scores[f"PQ/lost/{name}"] = means[..., 0, column]
    return scores


def panoptic_scores(counts: Counts, categories: Categories) -> dict[str, float]:
    """PQ, SQ and RQ of all classes, of things and of stuff, and what PQ lacks to 1.

    Args:
        counts: (K, 8), summed over images.
        categories: says which rows are things.

    Returns:
        "PQ", "SQ", "RQ", each also with "/thing" and "/stuff", and "PQ/lost/missed",
        "PQ/lost/background", "PQ/lost/classification" and "PQ/lost/localization", which add up to
        1 with "PQ": fractions, averaged over the classes that occur; NaN where none does.
    """
    means = panoptic_means(counts, categories.isthing)
    del means["PQ/class"]
    return {name: float(mean) for name, mean in means.items()}
