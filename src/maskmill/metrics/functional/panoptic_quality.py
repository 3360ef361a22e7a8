"""Panoptic quality from the definition, in numpy (Kirillov et al., CVPR 2019, arXiv:1801.00868)."""

import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.metrics.functional.segment_matching import (
    Matches,
    SegmentOutcome,
    Segments,
    find_matches,
)

# (K, 8): sum of IoU over matches, tp, fp, fn; of the fp those wrongly classed and those badly outlined, and of the fn likewise
Counts = npt.NDArray[np.float64]
COUNTS = (
    "iou_sum",
    "tp",
    "fp",
    "fn",
    "fp_classification",
    "fp_localization",
    "fn_classification",
    "fn_localization",
)
LOSSES = ("missed", "background", "classification", "localization")


def match_segments(
    pred: Panoptic,
    target: Panoptic,
    categories: Categories,
    *,
    background: bool,
    void_in_union: bool = False,
) -> Counts:
    """Count matched and unmatched segments of one image, per category: `count_matches` of `find_matches`, whose arguments these are.

    Returns:
        (K, 8) float64, as `COUNTS` names them (segments, not pixels).

    Raises:
        ValueError: the maps differ in size.
    """
    return count_matches(
        find_matches(pred, target, categories, background=background, void_in_union=void_in_union),
        categories.num_classes,
    )


def count_matches(matches: Matches, num_classes: int) -> Counts:
    """Count the segments of each class by what became of them, (K, 8) float64."""
    guess, truth = _by_outcome(matches.pred, num_classes), _by_outcome(matches.target, num_classes)
    matched = matches.target.iou * (matches.target.outcome == SegmentOutcome.MATCHED)
    counts = np.empty((num_classes, len(COUNTS)))
    counts[:, 0] = np.bincount(matches.target.index, matched, minlength=num_classes)
    counts[:, 1] = truth[:, SegmentOutcome.MATCHED]
    counts[:, 4:6], counts[:, 6:8] = (
        side[:, [SegmentOutcome.CLASSIFICATION_ERROR, SegmentOutcome.LOCALIZATION_ERROR]]
        for side in (guess, truth)
    )
    counts[:, 2] = guess[:, SegmentOutcome.BACKGROUND_ERROR] + counts[:, 4] + counts[:, 5]
    counts[:, 3] = truth[:, SegmentOutcome.MISSED] + counts[:, 6] + counts[:, 7]
    return counts


def _by_outcome(segments: Segments, num_classes: int) -> npt.NDArray[np.int64]:
    """Segments of each class and outcome, (K, F)."""
    code = segments.index * len(SegmentOutcome) + segments.outcome
    return np.bincount(code, minlength=num_classes * len(SegmentOutcome)).reshape(
        num_classes, len(SegmentOutcome)
    )


def panoptic_scores(counts: Counts, categories: Categories) -> dict[str, float]:
    """PQ, SQ and RQ of all categories, of things and of stuff, averaged over the categories that occur, and what PQ lacks to 1.

    Args:
        counts: (K, 8), summed over images.
        categories: which rows are things.

    Returns:
        "PQ", "SQ", "RQ", each with "/thing" and "/stuff", and "PQ/lost/missed", "PQ/lost/background", "PQ/lost/classification",
        "PQ/lost/localization", which with "PQ" add up to 1: fractions; NaN where no category of the kind occurs.
    """
    occurs = counts[:, 1:4].any(axis=1)
    table = np.concatenate([panoptic_per_class(counts), panoptic_losses(counts)], axis=1)[
        occurs
    ]  # (K', 7)
    isthing = categories.isthing[occurs]
    groups = np.stack([np.ones(len(table), bool), isthing, ~isthing])
    with np.errstate(invalid="ignore"):
        means = (groups @ table / groups.sum(axis=1)[:, None]).tolist()
    scores = {
        f"{name}{suffix}": mean
        for suffix, row in zip(("", "/thing", "/stuff"), means, strict=True)
        for name, mean in zip(("PQ", "SQ", "RQ"), row[:3], strict=True)
    }
    return scores | {
        f"PQ/lost/{name}": mean for name, mean in zip(LOSSES, means[0][3:], strict=True)
    }


def panoptic_per_class(counts: Counts) -> npt.NDArray[np.float64]:
    """PQ, SQ, RQ of each category, (K, 3); SQ is 0 without a match, all are NaN where the category does not occur."""
    iou_sum, tp, fp, fn = counts[:, :4].T
    segments = tp + fp / 2 + fn / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        sq = np.where(tp > 0, iou_sum / tp, 0.0)
        table = np.stack([iou_sum / segments, sq, tp / segments], axis=1)
    table[segments == 0] = np.nan
    return table


def panoptic_losses(counts: Counts) -> npt.NDArray[np.float64]:
    """What each category's PQ lacks to 1, by reason as `LOSSES` names them, (K, 4); NaN where the category does not occur.

    PQ = iou_sum / (tp + fp/2 + fn/2), so 1 - PQ = ((tp - iou_sum) + fp/2 + fn/2) / (tp + fp/2 + fn/2): half a segment for each that is
    spurious or missed, and what the matched ones lack of IoU 1, which is a matter of outline.
    """
    iou_sum, tp, fp, fn, fp_class, fp_outline, fn_class, fn_outline = counts.T
    missed, spurious = (fn - fn_class - fn_outline) / 2, (fp - fp_class - fp_outline) / 2
    lost = np.stack(
        [missed, spurious, (fp_class + fn_class) / 2, tp - iou_sum + (fp_outline + fn_outline) / 2],
        axis=1,
    )
    with np.errstate(invalid="ignore"):
        shares: npt.NDArray[np.float64] = lost / (tp + fp / 2 + fn / 2)[:, None]
    return shares
