"""AP of weighted images, of which intervals need a thousand: it visits runs of correct predictions.

Recall rises at correct predictions only, and precision rises along a run of them that no wrong one
interrupts. So the end of each run decides, and there are few runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskmill.evaluation.bootstrap import Array
from maskmill.metrics.functional.average_precision import (
    LIMITS,
    LOW_LIMITS,
    RECALLS,
    ClassMatches,
    correct_needed,
    matches_by_class,
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
BLOCK = 2**18  # elements of a temporary array: 1 MB, which stays in the processor's cache


@dataclass(frozen=True)
class _Runs:
    """Predictions side by side with the same outcome, as columns (L,).

    Args:
        starts: position of the first prediction of each run.
        stops: the position behind its last one.
    """

    starts: Ints
    stops: Ints

    @classmethod
    def where(cls, chosen: Bools) -> "_Runs":
        """The runs of chosen predictions (D,)."""
        steps = np.diff(chosen.astype(np.int8), prepend=0, append=0)
        return cls(np.flatnonzero(steps == 1), np.flatnonzero(steps == -1))

    def weigh(self, detections: Counts) -> Counts:
        """How often the predictions of all runs up to each count, (R, L).

        Args:
            detections: (R, D + 1) how often the first 0, 1, ... D predictions count.
        """
        stops = detections.take(self.stops, axis=1)
        starts = detections.take(self.starts, axis=1)
        return np.cumsum(stops - starts, axis=1, dtype=np.int32)


@dataclass(frozen=True)
class _Level:
    """The predictions of a category at one size range and IoU threshold.

    Args:
        correct: runs of correct ones.
        uncounted: runs of those that do not count at all.
    """

    correct: _Runs
    uncounted: _Runs

    @classmethod
    def from_outcome(cls, outcome: npt.NDArray[np.uint8]) -> "_Level":
        """The level of outcomes (D,)."""
        return cls(
            _Runs.where(outcome == MaskOutcome.CORRECT),
            _Runs.where(outcome == MaskOutcome.UNCOUNTED),
        )

    def average_precision(self, detections: Counts, reached: npt.NDArray[np.uint8]) -> Array:
        """Average precision, (R,).

        Args:
            detections: (R, D + 1) how often the first 0, 1, ... D predictions count.
            reached: (R, G + 1) how many recalls are reached by 0, 1, ... G correct predictions.
        """
        # for each run:  precision = max(correct so far / counted so far, from this run on)
        #                average += precision * recalls that this run reaches / 101
        if not len(self.correct.stops):
            return np.zeros(len(detections))
        true_positives = self.correct.weigh(detections)
        counted = detections.take(self.correct.stops, axis=1)
        if len(self.uncounted.stops):
            uncounted = np.pad(self.uncounted.weigh(detections), ((0, 0), (1, 0)))
            runs_before = np.searchsorted(self.uncounted.starts, self.correct.starts)
            counted -= uncounted.take(runs_before, axis=1)
        precision = np.zeros((len(counted), counted.shape[1] + 1))  # the last: of no recall
        np.divide(true_positives, counted + np.spacing(1), out=precision[:, :-1])
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        row = np.arange(len(reached))[:, None] * reached.shape[1]
        recalls = reached.take(true_positives + row)  # reached[row, true_positives]
        new = np.diff(recalls, axis=1, prepend=np.uint8(0), append=np.uint8(len(RECALLS)))
        # Repeated in place of multiplied: the same additions as for images that count once.
        precision = np.repeat(best.reshape(-1), new.reshape(-1)).reshape(-1, len(RECALLS))
        average: Array = precision.mean(axis=1)
        return average


@dataclass(frozen=True)
class _SizeRange:
    """The predictions of a category that count in a size range.

    Args:
        image: (D,) the image of each prediction that counts at some threshold, by falling score.
        levels: for each threshold.
    """

    image: Ints
    levels: list[_Level]

    @classmethod
    def from_outcome(cls, image: Ints, outcome: npt.NDArray[np.uint8]) -> "_SizeRange":
        """The size range of outcomes (T, D)."""
        counted = (outcome != MaskOutcome.UNCOUNTED).any(axis=0)
        return cls(image[counted], list(map(_Level.from_outcome, outcome[:, counted])))

    def average_precision(self, weights: Counts, reached: npt.NDArray[np.uint8]) -> Array:
        """Average precision, (R, T).

        Args:
            weights: (R, N).
            reached: see `_Level.average_precision`.
        """
        detections = np.zeros((len(weights), len(self.image) + 1), np.int32)
        np.cumsum(weights.take(self.image, axis=1), axis=1, out=detections[:, 1:])
        values = [level.average_precision(detections, reached) for level in self.levels]
        return np.stack(values, axis=1)


@dataclass(frozen=True)
class _Class:
    """One category in all images.

    Args:
        ranges: the size ranges.
        num_objects: (A, N) objects to find.
        num_correct: (A, T, N) correct predictions of each image.
        num_correct_of_few: (2, T, N) those among an image's first and first ten.
    """

    ranges: list[_SizeRange]
    num_objects: Array
    num_correct: Array
    num_correct_of_few: Array

    @classmethod
    def from_matches(cls, matches: ClassMatches, num_ranges: int) -> "_Class":
        """The category in the first size ranges."""
        num_images = matches.num_objects.shape[1]
        ranges = []
        num_correct = np.zeros((num_ranges, len(THRESHOLDS), num_images))
        num_correct_of_few = np.zeros((len(LOW_LIMITS), len(THRESHOLDS), num_images))
        for area, outcomes in enumerate(matches.outcome[:num_ranges]):
            ranges.append(_SizeRange.from_outcome(matches.image, outcomes))
            for threshold, correct in enumerate(outcomes == MaskOutcome.CORRECT):
                num_correct[area, threshold] = _count(matches.image[correct], num_images)
                if area == 0:
                    for row, limit in enumerate(LOW_LIMITS):
                        among_few = correct & (matches.rank < limit)
                        num_correct_of_few[row, threshold] = _count(
                            matches.image[among_few], num_images
                        )
        num_objects = matches.num_objects[:num_ranges].astype(np.float64)
        return cls(ranges, num_objects, num_correct, num_correct_of_few)


def _count(image: Ints, num_images: int) -> Ints:
    """How many predictions each image has, (N,)."""
    return np.bincount(image, minlength=num_images)


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
    length = max(len(matches.ranges[0].image), int(num_objects.max(initial=0)))
    step = max(1, BLOCK // max(1, length))
    for first in range(0, len(weights), step):
        rows = slice(first, first + step)
        for area, size_range in enumerate(matches.ranges):
            reached = _recalls_reached(num_objects[rows, area])
            ap[rows, area] = size_range.average_precision(weights[rows], reached)
    return ap


def _recalls_reached(num_objects: Ints) -> npt.NDArray[np.uint8]:
    """How many of the 101 recalls are reached by 0, 1, ... correct predictions.

    Args:
        num_objects: (R,) objects to find.

    Returns:
        (R, G + 1), where G is the largest number of objects.
    """
    needed = correct_needed(np.maximum(num_objects, 1))  # (R, 101)
    length = max(1, int(num_objects.max())) + 1
    row = np.arange(len(needed))[:, None]
    new = np.bincount((needed + length * row).reshape(-1), minlength=length * len(needed))
    return np.cumsum(new.reshape(-1, length), axis=1, dtype=np.uint8)


def _mean(values: Array) -> Array:
    """The mean over thresholds and categories (R, T, K) that have an object to find, (R,)."""
    present = ~np.isnan(values)
    sums = np.where(present, values, 0).sum(axis=(1, 2))
    return ratio(sums, present.sum(axis=(1, 2)))
