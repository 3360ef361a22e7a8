"""Which predicted segment is which true one, and what became of the others (Kirillov et al., CVPR 2019, arXiv:1801.00868)."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import VOID_ID, Panoptic
from maskmill.canonical.runs import Overlaps, overlaps

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MATCH_IOU = 0.5  # exclusive: above it a match is unique
OUTLINE_IOU = 0.1  # exclusive: below it two segments hardly mean the same object; as TIDE has it (Bolya et al., ECCV 2020)
IGNORED_SHARE = 0.5  # exclusive: an unmatched prediction lying on void or crowd with more of its area is not counted


class SegmentOutcome(IntEnum):
    """What became of a segment."""

    MATCHED = 0  # with one of its class, at an IoU above 0.5
    LOCALIZATION_ERROR = 1  # the best IoU with one of its class lies above 0.1, but not above 0.5
    CLASSIFICATION_ERROR = 2  # an IoU above 0.5, with one of another class
    MISSED = 3  # a true segment of neither kind
    BACKGROUND_ERROR = 4  # a predicted segment of neither kind
    IGNORED = 5  # an unmatched prediction mostly on void or on crowds of its class: not counted
    CROWD = 6  # a true segment that stands for a group: neither to be found nor missed


@dataclass(frozen=True)
class Segments:
    """The segments of one side of one image as columns (N,), by ascending id; void is none of them.

    `partner` is the id on the other side that `iou` is measured with: the match, else the segment of another class at IoU > 0.5, else
    the one of the same class with the best IoU; 0 and 0.0 where nothing of the class overlaps.
    """

    id: Ints
    index: Ints  # class index, 0..K-1
    area: Floats  # pixels, whole numbers
    score: Floats  # NaN where there is none
    iou: Floats
    partner: Ints
    outcome: Ints  # values of SegmentOutcome


@dataclass(frozen=True)
class Matches:
    """The outcome of matching one image: a few numbers per segment, no pixels."""

    pred: Segments
    target: Segments


def find_matches(
    pred: Panoptic,
    target: Panoptic,
    categories: Categories,
    *,
    background: bool,
    void_in_union: bool = False,
) -> Matches:
    """Match the segments of one image and say what became of each.

    A pair matches when both have the class and IoU > 0.5; such a match is unique. An unmatched prediction lying mostly on target void or on
    crowds of its class is forgiven. Eq. 1 and sec. 4 of the paper; void and crowds as in COCO's panopticapi. Several crowds of one class in
    an image count together.

    Args:
        pred: ids (H, W); its void counts against it.
        target: ids (H, W), same size; may contain void and crowds. Areas are counted anew, those of its segments are not read.
        categories: gives the class indices.
        background: the target's unlabelled pixels are background, not void: they stay in the union and forgive nothing.
        void_in_union: leave target void in the union, as BDD100K and deeplab2 count; panopticapi takes it out.

    Returns:
        the matches.

    Raises:
        ValueError: the maps differ in size.
    """
    if pred.size != target.size:
        raise ValueError(
            f"Expected a prediction of the target's size {target.size}, but got {pred.size} - predict at the original size"
        )
    place = categories.index
    return match_overlaps(
        overlaps(target.ids, pred.ids),
        {key: place[category_id] for key, category_id in pred.category_of.items()},
        {key: place[category_id] for key, category_id in target.category_of.items()},
        crowds=target.crowds,
        scores={
            segment.id: segment.score for segment in pred.segments if segment.score is not None
        },
        background=background,
        void_in_union=void_in_union,
    )


def match_overlaps(
    shared: Overlaps,
    pred_index: Mapping[int, int],
    target_index: Mapping[int, int],
    *,
    crowds: Collection[int] = (),
    scores: Mapping[int, float] | None = None,
    background: bool,
    void_in_union: bool = False,
) -> Matches:
    """`find_matches` from the pixels that pairs of segments share, however these were counted.

    Args:
        shared: pixels of target ids (first) and predicted ids (second), void among them.
        pred_index: predicted id -> class index; an id without one is void.
        target_index: true id -> class index; likewise.
        crowds: true ids that stand for a group.
        scores: predicted id -> confidence.
        background: as in `find_matches`.
        void_in_union: likewise.
    """
    rows, columns, pixels = (
        shared.rows,
        shared.columns,
        shared.pixels.astype(np.float64),
    )  # whole numbers: every sum is exact
    true_ids, pred_ids = shared.first.tolist(), shared.second.tolist()
    true_class, pred_class = (
        _column(ids, index, -1) for ids, index in ((true_ids, target_index), (pred_ids, pred_index))
    )
    iscrowd = (
        np.array([key in crowds for key in true_ids], bool)
        if crowds
        else np.zeros(len(true_ids), bool)
    )
    true_area, pred_area = np.bincount(rows, pixels), np.bincount(columns, pixels)
    classes, pred_classes, on_crowd = true_class[rows], pred_class[columns], iscrowd[rows]
    same = (classes == pred_classes) & (classes >= 0)
    excused = (
        np.zeros(len(pred_area)) if background else np.bincount(columns, pixels * (classes < 0))
    )  # on void
    union = (
        true_area[rows] + (pred_area if void_in_union else pred_area - excused)[columns] - pixels
    )
    excused += np.bincount(columns, pixels * (same & on_crowd))
    comparable = (classes >= 0) & (pred_classes >= 0) & ~on_crowd
    iou = np.zeros(len(rows) + 1)  # the last is that of no pair
    np.divide(pixels, union, out=iou[:-1], where=comparable)
    best = _BestPairs(iou, np.append(same, False))
    true_pair, pred_pair = best.of(rows, len(true_area)), best.of(columns, len(pred_area))
    true_outcome, pred_outcome = (
        best.outcomes(true_pair, SegmentOutcome.MISSED),
        best.outcomes(pred_pair, SegmentOutcome.BACKGROUND_ERROR),
    )
    true_outcome[iscrowd] = SegmentOutcome.CROWD
    pred_outcome[
        (excused > IGNORED_SHARE * pred_area) & (pred_outcome != SegmentOutcome.MATCHED)
    ] = SegmentOutcome.IGNORED
    score, no_score = (
        _column(pred_ids, scores, np.nan) if scores else np.full(len(pred_ids), np.nan),
        np.full(len(true_ids), np.nan),
    )
    partner = np.where(pred_pair < 0, VOID_ID, shared.first[rows[pred_pair]])
    true_partner = np.where(true_pair < 0, VOID_ID, shared.second[columns[true_pair]])
    return Matches(
        _without_void(
            shared.second, pred_class, pred_area, score, best.iou[pred_pair], partner, pred_outcome
        ),
        _without_void(
            shared.first,
            true_class,
            true_area,
            no_score,
            best.iou[true_pair],
            true_partner,
            true_outcome,
        ),
    )


def _column(ids: Sequence[int], values: Mapping[int, Any], default: float) -> npt.NDArray[Any]:
    return np.array([values.get(key, default) for key in ids])


class _BestPairs:
    """The pair that decides a segment's outcome: the only one above IoU 0.5, of whatever class, else the best one of its class."""

    def __init__(self, iou: Floats, same: npt.NDArray[np.bool_]) -> None:
        above = iou > MATCH_IOU
        self.iou = iou * (same | above)
        self._degree = (self.iou > OUTLINE_IOU) + above * (
            1 + same
        )  # 0: hardly any overlap, 1: some, 2: enough but another class, 3: match
        ascending = self.iou[:-1].argsort(kind="stable")
        self._ascending = ascending[self.iou[ascending] > 0]

    def of(self, places: Ints, number: int) -> Ints:
        """The pair of each of `number` segments, given each pair's segment; -1 for none."""
        best = np.full(number, -1)
        best[places[self._ascending]] = (
            self._ascending
        )  # of several values for a place the last stays
        return best

    def outcomes(self, pair: Ints, otherwise: SegmentOutcome) -> Ints:
        """What becomes of the segments whose pairs these are."""
        return np.array(
            [
                otherwise,
                SegmentOutcome.LOCALIZATION_ERROR,
                SegmentOutcome.CLASSIFICATION_ERROR,
                SegmentOutcome.MATCHED,
            ]
        )[self._degree[pair]]


def _without_void(ids: Ints, index: Ints, *columns: npt.NDArray[Any]) -> Segments:
    real = index >= 0
    first = int(ids[0] == VOID_ID)
    kept = slice(first, None) if real[first:].all() else real  # cutting costs nothing
    return Segments(ids[kept], index[kept], *(column[kept] for column in columns))
