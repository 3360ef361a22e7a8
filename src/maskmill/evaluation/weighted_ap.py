"""AP of weighted images: what a bootstrap asks for a thousand times, so only right predictions are looked at one by one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskmill.evaluation.bootstrap import Array
from maskmill.metrics.functional.average_precision import (
    LIMITS,
    ClassMatches,
    matches_by_class,
    needed_right,
)
from maskmill.metrics.functional.mask_matching import (
    AREA_RANGES,
    RIGHT,
    THRESHOLDS,
    UNCOUNTED,
    MaskMatches,
)

Ints = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int32]
BLOCK = 2**16  # elements of a temporary: it stays in the processor's cache
LEVELS = {"50": 0, "75": 5}  # rows of THRESHOLDS


@dataclass(frozen=True)
class ClassSums:
    """One category in all images.

    Args:
        image: (D,) the image of each prediction, by falling score.
        right: for each size range and threshold, the predictions that are right.
        counted: for each size range and threshold, those that count at all; None where all do.
        found: (A, N) objects to be found.
        right_of: (A, T, N) predictions that are right, per image.
        right_of_few: (2, T, N) the same among an image's first and first ten.
    """

    image: Ints
    right: list[list[Ints]]
    counted: list[list[npt.NDArray[np.bool_] | None]]
    found: Array
    right_of: Array
    right_of_few: Array


class ApSums:
    """The numbers of mask AP when image n counts `weights[r, n]` times, as if it stood in the data set so often.

    Args:
        images: N, in the order that decides among predictions of equal score.
        category_ids: the K categories of AP.
        sizes: also those of small, medium and large objects, and recall; it takes four times as long.
    """

    def __init__(
        self, images: Sequence[MaskMatches], category_ids: Sequence[int], *, sizes: bool
    ) -> None:
        self._ranges = list(AREA_RANGES) if sizes else [""]
        self._classes = [
            _class_sums(one, len(self._ranges)) for one in matches_by_class(images, category_ids)
        ]

    def score(self, weights: Array) -> dict[str, Array]:
        """The numbers by COCO's names, as far as they are asked for, and "AP/class".

        Args:
            weights: (R, N) whole numbers.

        Returns:
            metric -> (R,) fractions, NaN where nothing is to be found; "AP/class" (R, K).
        """
        shape = (len(weights), len(self._ranges), len(THRESHOLDS), len(self._classes))
        ap, recall, few = (
            np.full(shape, np.nan),
            np.full(shape, np.nan),
            np.full((shape[0], 2, *shape[2:]), np.nan),
        )
        for place, one in enumerate(self._classes):
            found = weights @ one.found.T  # (R, A)
            some = found[:, :, None] > 0
            for sums, out in ((one.right_of, recall), (one.right_of_few, few)):
                right = (weights @ sums.reshape(-1, sums.shape[2]).T).reshape(
                    len(weights), *sums.shape[:2]
                )
                below = found if sums is one.right_of else found[:, :1].repeat(2, axis=1)
                out[..., place] = np.divide(
                    right,
                    below[:, :, None],
                    out=np.full(right.shape, np.nan),
                    where=below[:, :, None] > 0,
                )
            ap[..., place] = np.where(
                some, _ap(one, weights.astype(np.int32), found.astype(np.int64)), np.nan
            )
        return self._named(ap, recall, few)

    def _named(self, ap: Array, recall: Array, few: Array) -> dict[str, Array]:
        scores = {
            "AP": _mean(ap[:, 0]),
            **{f"AP{name}": _mean(ap[:, 0, row : row + 1]) for name, row in LEVELS.items()},
        }
        scores["AP/class"] = ap[:, 0].mean(axis=1)
        if len(self._ranges) > 1:
            for place, name in enumerate(self._ranges[1:], start=1):
                scores |= {f"AP/{name}": _mean(ap[:, place]), f"AR/{name}": _mean(recall[:, place])}
            scores |= {
                f"AR{limit}": _mean(values)
                for limit, values in zip(LIMITS, (few[:, 0], few[:, 1], recall[:, 0]), strict=True)
            }
        return scores


def _class_sums(one: ClassMatches, num_ranges: int) -> ClassSums:
    outcome, num_images = one.outcome[:num_ranges], one.counted.shape[1]
    right = [[np.flatnonzero(row == RIGHT) for row in of_range] for of_range in outcome]
    counted = [
        [None if (row != UNCOUNTED).all() else row != UNCOUNTED for row in of_range]
        for of_range in outcome
    ]
    right_of = [
        [np.bincount(one.image[rows], minlength=num_images) for rows in of_range]
        for of_range in right
    ]
    few = [
        [
            np.bincount(one.image[rows[one.rank[rows] < limit]], minlength=num_images)
            for rows in right[0]
        ]
        for limit in LIMITS[:2]
    ]
    floats = (np.array(values, np.float64) for values in (one.counted[:num_ranges], right_of, few))
    return ClassSums(one.image, right, counted, *floats)


def _ap(one: ClassSums, weights: Counts, found: Ints) -> Array:
    """Average precision, (R, A, T); 0 where nothing is to be found."""
    ap = np.zeros((len(weights), *one.right_of.shape[:2]))
    step = max(1, BLOCK // max(1, len(one.image)))
    for first in range(0, len(weights), step):
        rows = slice(first, first + step)
        times = weights[rows][:, one.image]  # (r, D)
        all_seen = np.cumsum(times, axis=1, dtype=np.int32)
        for area, thresholds in enumerate(one.right):
            needed = needed_right(np.maximum(found[rows, area], 1))  # (r, 101)
            for level, right in enumerate(thresholds):
                counted = one.counted[area][level]
                seen = (
                    all_seen
                    if counted is None
                    else np.cumsum(times * counted, axis=1, dtype=np.int32)
                )
                ap[rows, area, level] = _mean_precision(times[:, right], seen[:, right], needed)
    return ap


def _mean_precision(times: Counts, seen: Counts, needed: Ints) -> Array:
    """The best precision from where each recall is reached, averaged over the recalls, (r,).

    Precision is highest at a right prediction, and recall rises nowhere else: the others need not be looked at.

    Args:
        times: (r, P) how often each right prediction counts.
        seen: (r, P) predictions up to each, itself included.
        needed: (r, 101) right predictions that reach each recall.
    """
    if not times.shape[1]:
        return np.zeros(len(times))
    right = np.cumsum(times, axis=1, dtype=np.int32)
    best = np.zeros((len(times), times.shape[1] + 1))  # the last: a recall that is not reached
    best[:, :-1] = right / (seen + np.spacing(1))
    best = np.maximum.accumulate(best[:, ::-1], axis=1)[:, ::-1]
    lift = np.arange(len(times))[:, None] * (
        int(max(right[:, -1].max(), needed.max())) + 1
    )  # one search over all rows
    at = np.searchsorted((right + lift).reshape(-1), (needed + lift).reshape(-1)).reshape(
        needed.shape
    )
    at -= times.shape[1] * np.arange(len(times))[:, None]
    means: Array = np.take_along_axis(best, at, axis=1).mean(axis=1)
    return means


def _mean(values: Array) -> Array:
    """The mean over thresholds and categories (R, T, K) that have something to be found, (R,)."""
    occurs = ~np.isnan(values)
    number = occurs.sum(axis=(1, 2))
    return np.where(
        number > 0, np.where(occurs, values, 0).sum(axis=(1, 2)) / np.maximum(number, 1), np.nan
    )
