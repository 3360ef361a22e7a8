"""One image's predicted masks against its target masks, matched in the way of COCO's evaluator.

Lin et al., ECCV 2014 (arXiv:1405.0312).
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from maskmill.metrics.functional.masks import MATCHABLE_IOU, MaskPairs, Masks

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

THRESHOLDS = np.linspace(MATCHABLE_IOU, 0.95, 10)  # not arange: the last bits differ
LEVELS = {"50": 0, "75": 5}  # the rows of THRESHOLDS that AP50 and AP75 are named after
AREA_RANGES = {  # pixels, both ends inclusive
    "": (0, 1e5**2),
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, 1e5**2),
}
MAX_DETECTIONS = 100  # per image and category
HEADER_BYTES = 24  # in front of a packed image: three int64


class MaskOutcome(IntEnum):
    """Whether a prediction is correct, for a size range and IoU threshold."""

    WRONG = 0
    CORRECT = 1
    UNCOUNTED = 2


@dataclass(frozen=True)
class MaskMatches:
    """What one image adds to AP: D predictions and G target objects, a few dozen bytes each.

    Args:
        category_id: (D,).
        score: (D,).
        rank: (D,) the position among the predictions of the category, by falling score.
        outcome: (A, T, D) values of MaskOutcome for each size range and IoU threshold.
        target_category_id: (G,).
        counted: (A, G) whether an object is to be found, for each size range.
    """

    category_id: Ints
    score: Floats
    rank: Ints
    outcome: npt.NDArray[np.uint8]
    target_category_id: Ints
    counted: Bools

    @classmethod
    def empty(cls) -> "MaskMatches":
        """An image without predictions and objects."""
        return cls(
            category_id=np.zeros(0, np.int64),
            score=np.zeros(0),
            rank=np.zeros(0, np.int64),
            outcome=np.zeros((len(AREA_RANGES), len(THRESHOLDS), 0), np.uint8),
            target_category_id=np.zeros(0, np.int64),
            counted=np.zeros((len(AREA_RANGES), 0), bool),
        )


class ImageMatching:
    """One image's masks, to be matched greedily by score, at ten thresholds, in four size ranges.

    Args:
        pred: predictions; of each category the 100 of the highest scores are kept, the earlier of
            equal ones.
        target: the ground truth.

    Raises:
        ValueError: the masks have different sizes.
    """

    def __init__(self, pred: Masks, target: Masks) -> None:
        sizes = {pred.runs.size, target.runs.size}
        if len(sizes) > 1:
            raise ValueError(
                f"Expected masks of one size (H, W), but got {sorted(sizes)} - "
                "predict at the original size"
            )
        falling = np.argsort(-pred.score, kind="stable")
        rank = _rank_in_category(pred.category_id[falling])
        among_best = rank < MAX_DETECTIONS
        self._rank = rank[among_best]
        self._pairs = MaskPairs(pred.take(falling[among_best]), target)

    def by_mask(self) -> MaskMatches:
        """The matches of mask AP."""
        return self._matches(self._pairs.iou)

    def by_boundary(self) -> MaskMatches:
        """The matches of boundary AP."""
        return self._matches(self._pairs.boundary_iou)

    def _matches(self, iou: Floats) -> MaskMatches:
        pred = self._pairs.pred
        target = self._pairs.target
        ignored = target.iscrowd | ~_in_ranges(target.area)  # (A, G)
        matched, on_ignored = _match(iou, ignored, target.iscrowd)  # (A, T, D)
        uncounted = on_ignored | (~matched & ~_in_ranges(pred.area)[:, None])
        outcome = np.where(matched, MaskOutcome.CORRECT, MaskOutcome.WRONG)
        outcome[uncounted] = MaskOutcome.UNCOUNTED
        return MaskMatches(
            category_id=pred.category_id,
            score=pred.score,
            rank=self._rank,
            outcome=outcome.astype(np.uint8),
            target_category_id=target.category_id,
            counted=~ignored,
        )


def match_masks(pred: Masks, target: Masks, *, boundary: bool = False) -> MaskMatches:
    """The matches of one image, for mask AP or boundary AP; see `ImageMatching`."""
    matching = ImageMatching(pred, target)
    return matching.by_boundary() if boundary else matching.by_mask()


def _rank_in_category(category_id: Ints) -> Ints:
    """The position of each entry among those of its category, in the order given."""
    order = np.argsort(category_id, kind="stable")
    ordered = category_id[order]
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    return rank


def _in_ranges(area: Floats) -> Bools:
    """Which areas lie in which size range, (A, N)."""
    bounds = np.array(list(AREA_RANGES.values()))  # (A, 2)
    lowest = bounds[:, :1]
    highest = bounds[:, 1:]
    inside: Bools = (lowest <= area) & (area <= highest)
    return inside


def _match(iou: Floats, ignored: Bools, iscrowd: Bools) -> tuple[Bools, Bools]:
    """Give each prediction, in order, the best target object that is still free.

    Args:
        iou: (D, G), by falling score; 0 for pairs of two categories.
        ignored: (A, G), objects that are not to be found; they are taken only where no other is
            left.
        iscrowd: (G,), objects that can be taken again and again.

    Returns:
        matched, and matched with an ignored object: (A, T, D) each.
    """
    num_ranges = len(ignored)
    num_thresholds = len(THRESHOLDS)
    matched = np.zeros((num_ranges, num_thresholds, len(iou)), bool)
    on_ignored = np.zeros_like(matched)
    enough = iou >= np.minimum(THRESHOLDS, 1 - 1e-10)[:, None, None]  # (T, D, G)
    near = enough[0]  # (D, G)

    # Predictions with a single object that no other prediction is near: no order to respect.
    wanted_once = near.sum(axis=0) == 1  # (G,)
    alone = (near.sum(axis=1) == 1) & near[:, wanted_once].any(axis=1)  # (D,)
    rows, columns = np.nonzero(near & alone[:, None])
    matched[:, :, rows] = enough[:, rows, columns]
    on_ignored[:, :, rows] = matched[:, :, rows] & ignored[:, None, columns]

    # for each prediction, range and threshold:
    #     object = the free one with enough IoU, preferably not ignored, then of the highest IoU
    free = np.ones((num_ranges, num_thresholds, len(iscrowd)), bool)
    for row in np.flatnonzero(near.any(axis=1) & ~alone).tolist():
        candidates = np.flatnonzero(near[row])
        rising = np.argsort(iou[row, candidates], kind="stable")  # of equal ones the later wins
        columns = candidates[rising]  # (C,)
        wanted = free[..., columns] & enough[:, row, columns]  # (A, T, C)
        bonus = np.where(ignored[:, columns], 0, len(columns))  # (A, C)
        preference = bonus + np.arange(1, len(columns) + 1)
        best = (wanted * preference[:, None]).argmax(axis=2)  # (A, T)
        has_match = wanted.any(axis=2)
        matched[:, :, row] = has_match
        areas, thresholds = np.nonzero(has_match)
        taken = columns[best[areas, thresholds]]
        on_ignored[areas, thresholds, row] = ignored[areas, taken]
        free[areas, thresholds, taken] = iscrowd[taken]
    return matched, on_ignored


def pack(matches: MaskMatches) -> npt.NDArray[np.uint8]:
    """One image's matches as bytes that processes can send each other; see `unpack`.

    Returns:
        (N,): a header of three int64 (bytes of the body, D, G), then the columns.
    """
    columns = [
        matches.score,
        matches.category_id,
        matches.rank,
        matches.target_category_id,
        matches.outcome,
        matches.counted,
    ]
    body = b"".join([np.ascontiguousarray(column).tobytes() for column in columns])
    header = np.array([len(body), len(matches.score), len(matches.target_category_id)], np.int64)
    return np.frombuffer(header.tobytes() + body, np.uint8).copy()


def split(data: bytes) -> list[bytes]:
    """The images of several results of `pack` in a row."""
    images = []
    while data:
        end = HEADER_BYTES + int(np.frombuffer(data, np.int64, 1)[0])
        images.append(data[:end])
        data = data[end:]
    return images


def unpack(data: bytes) -> MaskMatches:
    """The matches of one image that `pack` packed."""
    _, num_preds, num_targets = np.frombuffer(data, np.int64, 3).tolist()
    reader = _Reader(data, HEADER_BYTES)
    num_ranges = len(AREA_RANGES)
    score = reader.read(np.float64, num_preds)
    category_id = reader.read(np.int64, num_preds)
    rank = reader.read(np.int64, num_preds)
    target_category_id = reader.read(np.int64, num_targets)
    outcome = reader.read(np.uint8, num_ranges, len(THRESHOLDS), num_preds)
    counted = reader.read(np.bool_, num_ranges, num_targets)
    return MaskMatches(category_id, score, rank, outcome, target_category_id, counted)


class _Reader:
    """Reads arrays one after the other."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self._position = position

    def read(self, dtype: type[np.generic], *shape: int) -> npt.NDArray[Any]:
        """The next array."""
        size = int(np.prod(shape))
        array = np.frombuffer(self._data, dtype, size, self._position).reshape(shape)
        self._position += array.nbytes
        return array
