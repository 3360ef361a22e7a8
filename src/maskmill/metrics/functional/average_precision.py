# ruff: noqa: N803, N806 - a capital at the end of a name is a length
"""Precision over recall from the matched masks of many images.

The sums are those of COCO's evaluator, in its order: every value is equal to the last bit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskmill.metrics.functional.mask_matching import (
    AREA_RANGES,
    MAX_DETECTIONS,
    THRESHOLDS,
    MaskMatches,
    MaskOutcome,
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Counts = npt.NDArray[np.integer]

RECALLS = np.linspace(0.0, 1.0, 101)
# AR1, AR10 and AR100 look at so many predictions of an image and category.
LIMITS = (1, 10, MAX_DETECTIONS)
LOW_LIMITS = LIMITS[:-1]
ABSENT = -1.0  # COCO's mark of a category without target objects


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision over recall of each category; -1 where the target has no object to find.

    Args:
        category_ids: (K,).
        precision: (A, T, 101, K) for each size range and IoU threshold, at the recalls 0, 0.01,
            ... 1.
        score: (T, 101, K) the score at which each recall is reached, for objects of all sizes.
        recall: (A, T, K) at 100 predictions per image and category.
        recall_of_few: (2, T, K) at 1 and at 10 predictions, for objects of all sizes.
    """

    category_ids: Ints
    precision: Floats
    score: Floats
    recall: Floats
    recall_of_few: Floats


@dataclass(frozen=True)
class ClassMatches:
    """One category in all images: its D predictions by falling score, and its target objects.

    Args:
        score: (D,).
        rank: (D,) the position among an image's predictions of the category, by falling score.
        outcome: (A, T, D) values of MaskOutcome.
        image: (D,) the position of the prediction's image.
        num_objects: (A, N) objects to find in each image.
    """

    score: Floats
    rank: Ints
    outcome: npt.NDArray[np.uint8]
    image: Ints
    num_objects: Ints


def precision_recall(images: Sequence[MaskMatches], category_ids: Sequence[int]) -> PrecisionRecall:
    """Add up images.

    Args:
        images: in the order that decides between predictions of equal score.
        category_ids: the categories, ascending.

    Returns:
        the curves.
    """
    num_classes = len(category_ids)
    shape = (len(AREA_RANGES), len(THRESHOLDS), len(RECALLS), num_classes)
    precision = np.full(shape, ABSENT)
    score = np.full(shape[1:], ABSENT)
    recall = np.full((*shape[:2], num_classes), ABSENT)
    recall_of_few = np.full((len(LOW_LIMITS), shape[1], num_classes), ABSENT)
    for index, matches in enumerate(matches_by_class(images, category_ids)):
        num_objects = matches.num_objects.sum(axis=1)  # (A,)
        for area in np.flatnonzero(num_objects).tolist():
            correct = matches.outcome[area] == MaskOutcome.CORRECT
            wrong = matches.outcome[area] == MaskOutcome.WRONG
            true_positives = np.cumsum(correct, axis=1)  # (T, D)
            detections = np.cumsum(wrong, axis=1) + true_positives
            needed = correct_needed(num_objects[area : area + 1])  # (1, 101)
            reached, best = precision_envelope(
                true_positives, detections, needed.repeat(len(THRESHOLDS), axis=0)
            )
            precision[area, :, :, index] = best
            recall[area, :, index] = correct.sum(axis=1) / num_objects[area]
            if area == 0:
                score[:, :, index] = np.append(matches.score, 0.0)[reached]
                for row, limit in enumerate(LOW_LIMITS):
                    hits = correct[:, matches.rank < limit].sum(axis=1)
                    recall_of_few[row, :, index] = hits / num_objects[area]
    ids = np.array(category_ids, np.int64)
    return PrecisionRecall(ids, precision, score, recall, recall_of_few)


def matches_by_class(
    images: Sequence[MaskMatches], category_ids: Sequence[int]
) -> Iterator[ClassMatches]:
    """The matches of all images, category by category."""
    if not images:
        images = [MaskMatches.empty()]
        num_images = 0
    else:
        num_images = len(images)
    positions = np.arange(len(images))
    category_D = np.concatenate([image.category_id for image in images])
    score_D = np.concatenate([image.score for image in images])
    rank_D = np.concatenate([image.rank for image in images])
    outcome_D = np.concatenate([image.outcome for image in images], axis=2)
    image_D = np.repeat(positions, [len(image.score) for image in images])
    category_G = np.concatenate([image.target_category_id for image in images])
    counted_G = np.concatenate([image.counted for image in images], axis=1)
    image_G = np.repeat(positions, [len(image.target_category_id) for image in images])
    falling_D = np.argsort(-score_D, kind="stable")
    for category_id in category_ids:
        preds = falling_D[category_D[falling_D] == category_id]
        targets = np.flatnonzero(category_G == category_id)
        num_objects = np.zeros((len(counted_G), num_images), np.int64)
        for area, counted in enumerate(counted_G):
            num_objects[area] = np.bincount(
                image_G[targets], counted[targets], minlength=num_images
            )
        yield ClassMatches(
            score_D[preds], rank_D[preds], outcome_D[:, :, preds], image_D[preds], num_objects
        )


def precision_envelope(
    true_positives: Counts, detections: Counts, needed: Ints
) -> tuple[Ints, Floats]:
    """Where each recall is reached first, and the best precision from there on.

    Args:
        true_positives: (L, D) correct predictions so far, by falling score, for each of L curves.
        detections: (L, D) counted predictions so far.
        needed: (L, 101) correct predictions that reach each recall; see `correct_needed`.

    Returns:
        positions (L, 101), D where a recall is not reached, and precision (L, 101), 0 there.
    """
    # for each curve and recall:  position = first with true_positives >= needed
    #                             precision = max(true_positives / detections from there on)
    num_curves, length = true_positives.shape
    if not length:
        return np.zeros_like(needed), np.zeros(needed.shape)
    precision = np.zeros((num_curves, length + 1))  # the last: a recall that is not reached
    np.divide(true_positives, detections + np.spacing(1), out=precision[:, :-1])
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    # One search over all curves: each is shifted above the one before it.
    curve = np.arange(num_curves)[:, None]
    step = 1 + int(max(true_positives.max(initial=0), needed.max(initial=0)))
    shifted = (true_positives + step * curve).reshape(-1)
    found = np.searchsorted(shifted, (needed + step * curve).reshape(-1))
    positions = found.reshape(needed.shape) - length * curve
    return positions, np.take_along_axis(best, positions, axis=1)


def correct_needed(num_objects: Ints) -> Ints:
    """The fewest correct predictions that reach each recall in floating-point division.

    Args:
        num_objects: (L,) objects to find, above 0.

    Returns:
        (L, 101).
    """
    objects = num_objects[:, None]
    needed = np.ceil(RECALLS * objects).astype(np.int64)
    needed -= (needed - 1) / objects >= RECALLS
    needed += needed / objects < RECALLS
    return needed
