"""AP of weighted images, of which intervals need a thousand: it visits correct predictions only."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskmill.evaluation.bootstrap import Array
from maskmill.metrics.functional.average_precision import (
    LIMITS,
    LOW_LIMITS,
    ClassMatches,
    correct_needed,
    matches_by_class,
    precision_envelope,
)
from maskmill.metrics.functional.mask_matching import (
    AREA_RANGES,
    LEVELS,
    THRESHOLDS,
    MaskMatches,
    MaskOutcome,
)
from maskmill.metrics.functional.ratios import ratio

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int32]
BLOCK = 2**16  # elements of a temporary array: it stays in the processor's cache


@dataclass(frozen=True)
class _Level:
    """The D predictions of a category at one size range and IoU threshold.

    Args:
        correct: (P,) indices of the correct ones.
        counted: (D,) whether a prediction counts at all; None where all do.
    """

    correct: Ints
    counted: Bools | None


@dataclass(frozen=True)
class _Class:
    """One category in all images.

    Args:
        image: (D,) the image of each prediction, by falling score.
        levels: for each size range, each threshold.
        num_objects: (A, N) objects to find.
        num_correct: (A, T, N) correct predictions of each image.
        num_correct_of_few: (2, T, N) those among an image's first and first ten.
    """

    image: Ints
    levels: list[list[_Level]]
    num_objects: Array
    num_correct: Array
    num_correct_of_few: Array

    @classmethod
    def from_matches(cls, matches: ClassMatches, num_ranges: int) -> "_Class":
        """The category in the first size ranges."""
        num_images = matches.num_objects.shape[1]
        levels = []
        num_correct = np.zeros((num_ranges, len(THRESHOLDS), num_images))
        num_correct_of_few = np.zeros((len(LOW_LIMITS), len(THRESHOLDS), num_images))
        for area, outcomes in enumerate(matches.outcome[:num_ranges]):
            levels.append([_level(outcome) for outcome in outcomes])
            for threshold, level in enumerate(levels[area]):
                num_correct[area, threshold] = np.bincount(
                    matches.image[level.correct], minlength=num_images
                )
        for threshold, level in enumerate(levels[0]):
            for row, limit in enumerate(LOW_LIMITS):
                among_few = level.correct[matches.rank[level.correct] < limit]
                num_correct_of_few[row, threshold] = np.bincount(
                    matches.image[among_few], minlength=num_images
                )
        num_objects = matches.num_objects[:num_ranges].astype(np.float64)
        return cls(matches.image, levels, num_objects, num_correct, num_correct_of_few)


def _level(outcome: npt.NDArray[np.uint8]) -> _Level:
    counted = outcome != MaskOutcome.UNCOUNTED
    correct = np.flatnonzero(outcome == MaskOutcome.CORRECT)
    return _Level(correct, None if counted.all() else counted)


class WeightedAP:
    """The numbers of mask AP when each image counts as if it were in the data set several times.

    Args:
        images: N, in the order that decides between predictions of equal score.
        category_ids: the K categories of AP.
        sizes: also those of small, medium and large objects, and recall; it takes four times as
            long.
    """

    def __init__(
        self, images: Sequence[MaskMatches], category_ids: Sequence[int], *, sizes: bool
    ) -> None:
        self._ranges = list(AREA_RANGES) if sizes else [""]
        self._classes = []
        for matches in matches_by_class(images, category_ids):
            self._classes.append(_Class.from_matches(matches, len(self._ranges)))

    def score(self, weights: Array) -> dict[str, Array]:
        """The numbers by COCO's names, as far as they are asked for, and "AP/class".

        Args:
            weights: (R, N) whole numbers.

        Returns:
            metric -> (R,) fractions, NaN where there is no object to find; "AP/class" (R, K).
        """
        num_thresholds = len(THRESHOLDS)
        num_classes = len(self._classes)
        shape = (len(weights), len(self._ranges), num_thresholds, num_classes)
        ap = np.full(shape, np.nan)
        recall = np.full(shape, np.nan)
        few = np.full((len(weights), len(LOW_LIMITS), num_thresholds, num_classes), np.nan)
        for index, matches in enumerate(self._classes):
            num_objects = weights @ matches.num_objects.T  # (R, A)
            objects = num_objects[:, :, None]  # (R, A, 1)
            values = _average_precision(
                matches, weights.astype(np.int32), num_objects.astype(np.int64)
            )
            ap[..., index] = np.where(objects > 0, values, np.nan)
            recall[..., index] = ratio(_weigh(weights, matches.num_correct), objects)
            few[..., index] = ratio(_weigh(weights, matches.num_correct_of_few), objects[:, :1])
        return self._by_name(ap, recall, few)

    def _by_name(self, ap: Array, recall: Array, few: Array) -> dict[str, Array]:
        scores = {"AP": _mean(ap[:, 0])}
        for name, level in LEVELS.items():
            scores[f"AP{name}"] = _mean(ap[:, 0, level : level + 1])
        scores["AP/class"] = ap[:, 0].mean(axis=1)
        if len(self._ranges) == 1:
            return scores
        for area, name in enumerate(self._ranges[1:], start=1):
            scores[f"AP/{name}"] = _mean(ap[:, area])
            scores[f"AR/{name}"] = _mean(recall[:, area])
        recalls = [*np.moveaxis(few, 1, 0), recall[:, 0]]
        for limit, values in zip(LIMITS, recalls, strict=True):
            scores[f"AR{limit}"] = _mean(values)
        return scores


def _weigh(weights: Array, counts: Array) -> Array:
    """Counts (A, T, N) summed with weights (R, N): (R, A, T)."""
    flat = counts.reshape(-1, counts.shape[2])
    return (weights @ flat.T).reshape(len(weights), *counts.shape[:2])


def _average_precision(matches: _Class, weights: Counts, num_objects: Ints) -> Array:
    """Average precision, (R, A, T); meaningless where there is no object to find.

    Args:
        matches: the category.
        weights: (R, N).
        num_objects: (R, A).
    """
    ap = np.zeros((len(weights), *matches.num_correct.shape[:2]))
    step = max(1, BLOCK // max(1, len(matches.image)))
    for first in range(0, len(weights), step):
        rows = slice(first, first + step)
        times = weights[rows][:, matches.image]  # (r, D) how often each prediction counts
        all_detections = np.cumsum(times, axis=1, dtype=np.int32)
        for area, thresholds in enumerate(matches.levels):
            needed = correct_needed(np.maximum(num_objects[rows, area], 1))  # (r, 101)
            for threshold, level in enumerate(thresholds):
                detections = all_detections
                if level.counted is not None:
                    detections = np.cumsum(times * level.counted, axis=1, dtype=np.int32)
                # Precision is highest at a correct prediction and recall rises nowhere else: the
                # other predictions need not be visited.
                true_positives = np.cumsum(times[:, level.correct], axis=1, dtype=np.int32)
                _, precision = precision_envelope(
                    true_positives, detections[:, level.correct], needed
                )
                ap[rows, area, threshold] = precision.mean(axis=1)
    return ap


def _mean(values: Array) -> Array:
    """The mean over thresholds and categories (R, T, K) that have an object to find, (R,)."""
    present = ~np.isnan(values)
    sums = np.where(present, values, 0).sum(axis=(1, 2))
    return ratio(sums, present.sum(axis=(1, 2)))
