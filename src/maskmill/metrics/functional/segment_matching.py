# ruff: noqa: N803, N806 - a capital at the end of a name is a length
"""Which predicted segment matches which target segment, and what the others are.

Kirillov et al., Panoptic Segmentation, CVPR 2019 (arXiv:1801.00868).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import VOID_ID, ListedPanoptic, Panoptic
from maskmill.canonical.runs import Overlaps, overlaps

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Segmented = Panoptic | ListedPanoptic

MATCH_IOU = 0.5  # exclusive: above it a match is unique
LOCALIZATION_IOU = 0.1  # exclusive: the lower bound of TIDE (Bolya et al., ECCV 2020)
IGNORED_SHARE = 0.5  # exclusive: of an unmatched prediction's area, on void or crowd
NO_CLASS = -1
NO_PAIR = -1


class SegmentOutcome(IntEnum):
    """What matching found out about a segment; error types as in TIDE."""

    MATCHED = 0  # with one of its class, at an IoU above 0.5
    LOCALIZATION_ERROR = 1  # the best IoU with one of its class is above 0.1, but not above 0.5
    CLASSIFICATION_ERROR = 2  # an IoU above 0.5, with one of another class
    MISSED = 3  # a target segment that is neither matched nor one of the two errors
    BACKGROUND_ERROR = 4  # a predicted segment that is neither matched nor one of the two errors
    IGNORED = 5  # an unmatched prediction mostly on void or on crowds of its class: not counted
    CROWD = 6  # a target segment that is a group of objects: neither matched nor missed


class PairKind(IntEnum):
    """How well the two segments of a pair agree; each kind includes an IoU above that before it."""

    UNRELATED = 0
    LOCALIZATION_ERROR = 1
    CLASSIFICATION_ERROR = 2
    MATCH = 3


@dataclass(frozen=True)
class Segments:
    """The segments of one side of one image as columns (N,), by ascending id and without void.

    `partner` is the id on the other side that `iou` is measured with: the match; else the segment
    of another class at IoU > 0.5; else the one of the same class with the best IoU. Both are 0
    where nothing of the class overlaps.
    """

    id: Ints
    index: Ints  # class index, 0..K-1
    area: Floats  # pixels, whole numbers
    score: Floats  # NaN without a score
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
    """Match the segments of one image and find the outcome of each.

    Two segments match when they have the same class and IoU > 0.5; such a match is unique. An
    unmatched prediction that lies mostly on target void or on crowds of its class is ignored. Eq. 1
    and sec. 4 of the paper; void and crowds as in COCO's panopticapi. Several crowds of one class
    in an image count together.

    Args:
        pred: ids (H, W); its void counts against it.
        target: ids (H, W), same size; may contain void and crowds. Areas are counted from the
            pixels; those that its segments state are not used.
        categories: gives the class indices.
        background: the target's unlabelled pixels are background, not void: they stay in the union
            and no prediction on them is ignored.
        void_in_union: leave target void in the union, as BDD100K's evaluator does; panopticapi
            and deeplab2 remove it.

    Returns:
        the matches.

    Raises:
        ValueError: the maps differ in size.
    """
    require_same_size(pred.size, target.size)
    return match_overlaps(
        overlaps(target.ids, pred.ids),
        class_indices(pred, categories),
        class_indices(target, categories),
        crowds=target.crowds,
        scores=pred.score_of,
        background=background,
        void_in_union=void_in_union,
    )


def require_same_size(pred: tuple[int, ...], target: tuple[int, ...]) -> None:
    """Refuse a prediction of another size.

    Raises:
        ValueError: the sizes, (H, W), differ.
    """
    if pred != target:
        raise ValueError(
            f"Expected a prediction of the target's size {target}, but got {pred} - "
            "predict at the original size"
        )


def class_indices(panoptic: Segmented, categories: Categories) -> dict[int, int]:
    """Segment id -> class index 0..K-1.

    Raises:
        ValueError: a segment has a category that is not in the table.
    """
    index_of = categories.index
    categories.require_known(panoptic.category_of.values())
    return {key: index_of[category_id] for key, category_id in panoptic.category_of.items()}


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
        pred_index: predicted id -> class index; an id without an entry is void.
        target_index: target id -> class index; an id without an entry is void.
        crowds: target ids of groups of objects.
        scores: predicted id -> confidence.
        background: the target's unlabelled pixels are background; see `find_matches`.
        void_in_union: leave target void in the union; see `find_matches`.

    Returns:
        the matches.
    """
    # T target segments, P predicted segments, N pairs that share pixels; void is a segment
    target_N = shared.rows
    pred_N = shared.columns
    pixels_N = shared.pixels.astype(np.float64)  # whole numbers: every sum is exact
    class_T = _look_up(shared.first, target_index, NO_CLASS)
    class_P = _look_up(shared.second, pred_index, NO_CLASS)
    iscrowd_T = _look_up(shared.first, dict.fromkeys(crowds, True), False)
    area_T = _sum_of_each(target_N, pixels_N)
    area_P = _sum_of_each(pred_N, pixels_N)
    target_class_N = class_T[target_N]
    pred_class_N = class_P[pred_N]
    on_crowd_N = iscrowd_T[target_N]
    same_class_N = (target_class_N == pred_class_N) & (target_class_N >= 0)

    # for each prediction p:  ignorable = |p & void| + |p & crowds of its class|
    void_P = np.zeros(len(area_P))
    if not background:
        void_P = _sum_of_each(pred_N, pixels_N * (target_class_N < 0))
    ignorable_P = void_P + _sum_of_each(pred_N, pixels_N * (same_class_N & on_crowd_N))

    # for each pair (t, p) without void and crowds:  iou = |t & p| / |t | p|
    counted_area_P = area_P if void_in_union else area_P - void_P
    union_N = area_T[target_N] + counted_area_P[pred_N] - pixels_N
    comparable_N = (target_class_N >= 0) & (pred_class_N >= 0) & ~on_crowd_N
    iou_N = np.zeros(len(pixels_N))
    np.divide(pixels_N, union_N, out=iou_N, where=comparable_N)

    pairs = _Pairs.compare(iou_N, same_class_N)
    pair_T = pairs.best_of_each(target_N, num_segments=len(area_T))
    pair_P = pairs.best_of_each(pred_N, num_segments=len(area_P))
    outcome_T = pairs.outcome(pair_T, otherwise=SegmentOutcome.MISSED)
    outcome_P = pairs.outcome(pair_P, otherwise=SegmentOutcome.BACKGROUND_ERROR)
    outcome_T[iscrowd_T] = SegmentOutcome.CROWD
    mostly_ignorable_P = ignorable_P > IGNORED_SHARE * area_P
    outcome_P[mostly_ignorable_P & (outcome_P != SegmentOutcome.MATCHED)] = SegmentOutcome.IGNORED

    pred = Segments(
        id=shared.second,
        index=class_P,
        area=area_P,
        score=_look_up(shared.second, scores or {}, np.nan),
        iou=pairs.iou[pair_P],
        partner=np.where(pair_P == NO_PAIR, VOID_ID, shared.first[target_N[pair_P]]),
        outcome=outcome_P,
    )
    target = Segments(
        id=shared.first,
        index=class_T,
        area=area_T,
        score=np.full(len(area_T), np.nan),
        iou=pairs.iou[pair_T],
        partner=np.where(pair_T == NO_PAIR, VOID_ID, shared.second[pred_N[pair_T]]),
        outcome=outcome_T,
    )
    return Matches(_without_void(pred), _without_void(target))


def _sum_of_each(segment_N: Ints, values_N: Floats) -> Floats:
    """The sum over the pairs of each segment; every segment has a pair."""
    return np.asarray(np.bincount(segment_N, values_N), np.float64)


def _look_up(ids: Ints, values: Mapping[int, Any], default: float) -> npt.NDArray[Any]:
    """The value of each id, (N,)."""
    if not values:
        return np.full(len(ids), default)
    return np.array([values.get(key, default) for key in ids.tolist()], type(default))


@dataclass(frozen=True)
class _Pairs:
    """Pairs of a target and a predicted segment; a last entry is added for a missing pair.

    The pair that decides a segment's outcome is the only one above IoU 0.5, of any class, else the
    best pair of its class.
    """

    iou: Floats  # (N + 1,), 0 for pairs that decide nothing
    kind: Ints  # (N + 1,) values of PairKind

    @classmethod
    def compare(cls, iou_N: Floats, same_class_N: Bools) -> "_Pairs":
        """Sort pairs into kinds; `iou_N` is 0 where a side is void or a crowd."""
        iou = np.append(iou_N, 0.0)
        same_class = np.append(same_class_N, False)
        above = iou > MATCH_IOU
        iou *= same_class | above
        # UNRELATED, + 1 above 0.1, + 1 above 0.5, + 1 above 0.5 and of the same class
        kind = np.add(iou > LOCALIZATION_IOU, above * (1 + same_class), dtype=np.int64)
        return cls(iou, kind)

    def best_of_each(self, segment_N: Ints, *, num_segments: int) -> Ints:
        """The deciding pair of each segment, NO_PAIR where none overlaps; (num_segments,).

        Args:
            segment_N: the segment of each pair.
            num_segments: how many there are.
        """
        # for each pair by ascending IoU:  best[segment of pair] = pair, so the highest stays
        ascending = self.iou[:-1].argsort(kind="stable")
        ascending = ascending[self.iou[ascending] > 0]
        best = np.full(num_segments, NO_PAIR)
        best[segment_N[ascending]] = ascending
        return best

    def outcome(self, pair: Ints, *, otherwise: SegmentOutcome) -> Ints:
        """The outcome of the segments whose deciding pairs are given."""
        outcome_of = np.empty(len(PairKind), np.int64)
        outcome_of[PairKind.UNRELATED] = otherwise
        outcome_of[PairKind.LOCALIZATION_ERROR] = SegmentOutcome.LOCALIZATION_ERROR
        outcome_of[PairKind.CLASSIFICATION_ERROR] = SegmentOutcome.CLASSIFICATION_ERROR
        outcome_of[PairKind.MATCH] = SegmentOutcome.MATCHED
        outcome: Ints = outcome_of[self.kind[pair]]
        return outcome


def _without_void(segments: Segments) -> Segments:
    """The rows that have a class. Void is usually the first row alone: slices copy nothing."""
    real = segments.index >= 0
    first = int(segments.id[0] == VOID_ID)
    kept: slice | Bools = slice(first, None) if real[first:].all() else real
    return Segments(**{name: column[kept] for name, column in vars(segments).items()})
