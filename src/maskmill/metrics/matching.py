"""Which predicted segment is which true one, and what became of the others (Kirillov et al., CVPR 2019, arXiv:1801.00868)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import VOID_ID, Panoptic
from maskmill.canonical.runs import joint_histogram

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Overlaps = tuple[Ints, Ints, Ints]  # of every pair that shares pixels: target id, predicted id, pixels; by target id, then predicted id

MATCH_IOU = 0.5  # exclusive: above it a match is unique
OUTLINE_IOU = 0.1  # exclusive: below it two segments hardly mean the same object; as TIDE has it (Bolya et al., ECCV 2020)
FORGIVEN_SHARE = 0.5  # exclusive: an unmatched prediction lying on void or crowd with more of its area is not counted


class Fate(IntEnum):
    """What became of a segment."""

    MATCHED = 0  # with one of its class, at an IoU above 0.5
    BADLY_OUTLINED = 1  # the best IoU with one of its class lies above 0.1, but not above 0.5
    WRONGLY_CLASSED = 2  # an IoU above 0.5, with one of another class
    MISSED = 3  # a true segment of neither kind
    SPURIOUS = 4  # a predicted segment of neither kind
    FORGIVEN = 5  # an unmatched prediction mostly on void or on crowds of its class: not counted
    CROWD = 6  # a true segment that stands for a group: neither to be found nor missed


@dataclass(frozen=True)
class Segments:
    """The segments of one side of one image as columns (N,), by ascending id; void is none of them.

    `partner` is the id on the other side that `iou` is measured with: the match, else the segment of another class at IoU > 0.5, else
    the one of the same class with the best IoU; 0 and 0.0 where nothing of the class overlaps.
    """

    id: Ints
    index: npt.NDArray[np.int16]  # class index, 0..K-1
    area: Ints  # pixels
    score: Floats  # NaN where there is none
    iou: Floats
    partner: Ints
    fate: npt.NDArray[np.int8]  # values of Fate


@dataclass(frozen=True)
class Matches:
    """The outcome of matching one image: a few numbers per segment, no pixels."""

    pred: Segments
    target: Segments


def find_matches(pred: Panoptic, target: Panoptic, categories: Categories, *, background: bool, void_in_union: bool = False) -> Matches:
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
        raise ValueError(f"Expected a prediction of the target's size {target.size}, but got {pred.size} - predict at the original size")
    scores = {segment.id: segment.score for segment in pred.segments if segment.score is not None}
    return match_overlaps(
        joint_histogram(target.ids, pred.ids),
        _indices(pred.category_of, categories),
        _indices(target.category_of, categories),
        crowds=target.crowds,
        scores=scores,
        background=background,
        void_in_union=void_in_union,
    )


def _indices(category_of: Mapping[int, int], categories: Categories) -> dict[int, int]:
    return {segment_id: categories.index[category_id] for segment_id, category_id in category_of.items()}


def match_overlaps(
    overlaps: Overlaps,
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
        overlaps: the joint histogram of target and prediction, void (id 0) among them.
        pred_index: predicted id -> class index; an id without one is void.
        target_index: true id -> class index; likewise.
        crowds: true ids that stand for a group.
        scores: predicted id -> confidence.
        background: as in `find_matches`.
        void_in_union: likewise.
    """
    target_ids, pred_ids, shared = overlaps
    truth, guess = _Side(target_ids, target_index, shared), _Side(pred_ids, pred_index, shared)
    iscrowd = np.array([segment_id in crowds for segment_id in truth.ids.tolist()], bool)
    rows, columns = truth.places, guess.places
    no_truth = truth.index[rows] < 0
    on_void = np.zeros(len(guess.ids)) if background else np.bincount(columns[no_truth], shared[no_truth], minlength=len(guess.ids))
    outside = 0 if void_in_union else on_void[columns]  # sums of whole pixels: exact in float64
    union = truth.area[rows] + guess.area[columns] - shared - outside
    known = ~no_truth & (guess.index[columns] >= 0)
    same = known & (truth.index[rows] == guess.index[columns])
    iou = np.where(known & ~iscrowd[rows], shared / np.maximum(union, 1), 0.0)
    on_crowd = np.bincount(columns[same & iscrowd[rows]], shared[same & iscrowd[rows]], minlength=len(guess.ids))
    forgiven = (on_void + on_crowd) / guess.area > FORGIVEN_SHARE
    pair_of_truth, pair_of_guess = _best_pairs(iou, same, rows, len(truth.ids)), _best_pairs(iou, same, columns, len(guess.ids))
    truth_fate, guess_fate = _fates(pair_of_truth, iou, same, Fate.MISSED), _fates(pair_of_guess, iou, same, Fate.SPURIOUS)
    truth_fate[iscrowd] = Fate.CROWD
    guess_fate[forgiven & (guess_fate != Fate.MATCHED)] = Fate.FORGIVEN
    score = np.array([np.nan if scores is None else scores.get(key, np.nan) for key in guess.ids.tolist()], np.float64)
    return Matches(
        guess.columns(score, iou, pair_of_guess, target_ids, guess_fate),
        truth.columns(np.full(len(truth.ids), np.nan), iou, pair_of_truth, pred_ids, truth_fate),
    )


def _best_pairs(iou: Floats, same: npt.NDArray[np.bool_], places: Ints, number: int) -> Ints:
    """Which pair decides a segment's fate, (N,); -1 for none. A pair above 0.5 is the only such one of either segment."""
    value = np.where(same | (iou > MATCH_IOU), iou, 0.0)
    ascending = np.argsort(value, kind="stable")
    ascending = ascending[value[ascending] > 0]
    best = np.full(number, -1)
    best[places[ascending]] = ascending  # of several values for a place the last stays
    return best


def _fates(pair: Ints, iou: Floats, same: npt.NDArray[np.bool_], otherwise: Fate) -> npt.NDArray[np.int8]:
    value, of_class = np.where(pair >= 0, iou[pair], 0.0), (pair >= 0) & same[pair]
    above = np.where(of_class, Fate.MATCHED, Fate.WRONGLY_CLASSED)
    below = np.where(value > OUTLINE_IOU, Fate.BADLY_OUTLINED, otherwise)
    return np.where(value > MATCH_IOU, above, below).astype(np.int8)


class _Side:
    """The ids of one side of the pairs: their classes (-1 for void), areas, and each pair's place among them."""

    def __init__(self, ids: Ints, index: Mapping[int, int], shared: Ints) -> None:
        self.ids, self.places = np.unique(ids, return_inverse=True)
        self.index = np.array([index.get(key, -1) if key != VOID_ID else -1 for key in self.ids.tolist()], np.int16)
        self.area = np.bincount(self.places, shared, minlength=len(self.ids))

    def columns(self, score: Floats, iou: Floats, pair: Ints, other_ids: Ints, fate: npt.NDArray[np.int8]) -> Segments:
        """What is known of the segments, without void."""
        real, has_pair = self.index >= 0, pair >= 0
        value, partner = np.where(has_pair, iou[pair], 0.0), np.where(has_pair, other_ids[pair], VOID_ID)
        area = self.area[real].astype(np.int64)
        return Segments(self.ids[real], self.index[real], area, score[real], value[real], partner[real], fate[real])
