"""One image's predicted masks against its true ones, as COCO's evaluator matches them (Lin et al., ECCV 2014, arXiv:1405.0312)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskmill.metrics.functional.masks import MATCHABLE_IOU, Masks, mask_iou

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

THRESHOLDS = np.linspace(MATCHABLE_IOU, 0.95, 10)  # not arange: the last bits differ
AREA_RANGES = {
    "": (0, 1e5**2),
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, 1e5**2),
}  # pixels, both ends inclusive
MAX_DETECTIONS = 100  # an image and category
WRONG, RIGHT, UNCOUNTED = 0, 1, 2
HEAD = 24  # bytes in front of a packed image


@dataclass(frozen=True)
class MaskMatches:
    """What one image adds to AP: D predictions and G true objects as columns, a few dozen bytes each.

    `rank` is a prediction's place among those of its category, by falling score. `outcome` (A, T, D) says for each size range and IoU
    threshold whether it is right, wrong or uncounted; `counted` (A, G) whether a true object is to be found.
    """

    category_id: Ints
    score: Floats
    rank: Ints
    outcome: npt.NDArray[np.uint8]
    true_category_id: Ints
    counted: Bools


def match_masks(pred: Masks, target: Masks, *, boundary: bool = False) -> MaskMatches:
    """Match one image's masks greedily by score, at ten thresholds and in four size ranges at once.

    Args:
        pred: what was predicted; of each category the 100 of the highest scores are kept, the earlier of equal ones.
        target: the truth.
        boundary: for boundary AP, see `mask_iou`.

    Returns:
        the outcome.
    """
    order = np.argsort(-pred.score, kind="stable")
    rank = _rank(pred.category_id[order])
    order, rank = order[rank < MAX_DETECTIONS], rank[rank < MAX_DETECTIONS]
    kept = pred.take(order)
    ignored = target.iscrowd | ~_in_ranges(target.area)  # (A, G)
    matched, on_ignored = _match(mask_iou(kept, target, boundary=boundary), ignored, target.iscrowd)
    uncounted = on_ignored | (~matched & ~_in_ranges(kept.area)[:, None])
    outcome = np.where(uncounted, UNCOUNTED, np.where(matched, RIGHT, WRONG)).astype(np.uint8)
    return MaskMatches(kept.category_id, kept.score, rank, outcome, target.category_id, ~ignored)


def _rank(category_id: Ints) -> Ints:
    """Each one's place among those of its category, in the order given."""
    order = np.argsort(category_id, kind="stable")
    ordered = category_id[order]
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    return rank


def _in_ranges(area: Floats) -> Bools:
    """Which areas lie in which size range, (A, N)."""
    lowest, highest = np.array(list(AREA_RANGES.values())).T[..., None]
    inside: Bools = (lowest <= area) & (area <= highest)
    return inside


def _match(iou: Floats, ignored: Bools, iscrowd: Bools) -> tuple[Bools, Bools]:
    """Give each prediction, in order, the best true object that is still free: matched, and matched with an ignored one, (A, T, D) each.

    Args:
        iou: (D, G), by falling score; 0 for pairs of two categories.
        ignored: (A, G), objects that are not to be found; they are taken only where no other is left.
        iscrowd: (G,), objects that may be taken again and again.
    """
    num_ranges, num_thresholds = len(ignored), len(THRESHOLDS)
    matched = np.zeros((num_ranges, num_thresholds, len(iou)), bool)
    on_ignored = np.zeros_like(matched)
    enough = iou >= np.minimum(THRESHOLDS, 1 - 1e-10)[:, None, None]  # (T, D, G)
    near = enough[0]
    alone = (near.sum(axis=1) == 1) & near[:, near.sum(axis=0) == 1].any(
        axis=1
    )  # nobody else wants its only object
    rows, columns = np.nonzero(near & alone[:, None])
    matched[:, :, rows] = enough[:, rows, columns]
    on_ignored[:, :, rows] = matched[:, :, rows] & ignored[:, None, columns]
    free = np.ones((num_ranges, num_thresholds, len(iscrowd)), bool)
    for row in np.flatnonzero(near.any(axis=1) & ~alone).tolist():
        columns = np.flatnonzero(near[row])
        columns = columns[
            np.argsort(iou[row, columns], kind="stable")
        ]  # by rising IoU; of equal ones the later wins
        wanted = free[..., columns] & enough[:, row, columns]  # (A, T, C)
        preference = np.where(ignored[:, columns], 0, len(columns)) + np.arange(
            1, len(columns) + 1
        )  # (A, C)
        best = (wanted * preference[:, None]).argmax(axis=2)  # (A, T)
        found = wanted.any(axis=2)
        matched[:, :, row] = found
        areas, thresholds = np.nonzero(found)
        taken = columns[best[areas, thresholds]]
        on_ignored[areas, thresholds, row] = ignored[areas, taken]
        free[areas, thresholds, taken] = iscrowd[taken]
    return matched, on_ignored


def pack(matches: MaskMatches) -> npt.NDArray[np.uint8]:
    """One image's matches as bytes, their number in front: what processes can send each other."""
    columns = (
        matches.score,
        matches.category_id,
        matches.rank,
        matches.true_category_id,
        matches.outcome,
        matches.counted,
    )
    body = b"".join(np.ascontiguousarray(column).tobytes() for column in columns)
    head = np.array(
        [len(body), len(matches.score), len(matches.true_category_id)], np.int64
    ).tobytes()
    return np.frombuffer(head + body, np.uint8).copy()


def split(data: bytes) -> list[bytes]:
    """The images of several `pack`s in a row."""
    parts = []
    while data:
        end = HEAD + int(np.frombuffer(data, np.int64, 1)[0])
        parts.append(data[:end])
        data = data[end:]
    return parts


def unpack(data: bytes) -> MaskMatches:
    """The matches of one image that `pack` packed."""
    _, preds, truths = np.frombuffer(data, np.int64, 3).tolist()
    ranges, thresholds = len(AREA_RANGES), len(THRESHOLDS)
    forms = [
        (np.float64, (preds,)),
        (np.int64, (preds,)),
        (np.int64, (preds,)),
        (np.int64, (truths,)),
    ]
    columns, place = [], HEAD
    for kind, shape in [
        *forms,
        (np.uint8, (ranges, thresholds, preds)),
        (np.bool_, (ranges, truths)),
    ]:
        column = np.frombuffer(data, kind, int(np.prod(shape)), place).reshape(shape)
        columns.append(column)
        place += column.nbytes
    score, category_id, rank, true_category_id, outcome, counted = columns
    return MaskMatches(category_id, score, rank, outcome, true_category_id, counted)
