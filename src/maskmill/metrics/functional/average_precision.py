"""From matched masks of many images to precision over recall, as COCO's evaluator adds them up, to the last bit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskmill.metrics.functional.mask_matching import (
    AREA_RANGES,
    MAX_DETECTIONS,
    RIGHT,
    THRESHOLDS,
    WRONG,
    MaskMatches,
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

RECALLS = np.linspace(0.0, 1.0, 101)
LIMITS = (
    1,
    10,
    MAX_DETECTIONS,
)  # predictions of an image and category that AR1, AR10 and AR100 look at


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision over recall of each category; -1 where the truth has nothing to find.

    `precision` (A, T, 101, K) at the recalls 0, 0.01, ... 1; `score` (T, 101, K) is the score at which each is reached, for objects of all
    sizes; `recall` (A, T, K) at 100 predictions an image and category; `recall_of_few` (2, T, K) at 1 and 10, for objects of all sizes.
    """

    category_ids: Ints
    precision: Floats
    score: Floats
    recall: Floats
    recall_of_few: Floats


@dataclass(frozen=True)
class ClassMatches:
    """One category in all images: its predictions by falling score, and in which image each is."""

    score: Floats  # (D,)
    rank: Ints
    outcome: npt.NDArray[np.uint8]  # (A, T, D)
    image: Ints  # (D,)
    counted: Ints  # (A, N): objects to be found in each image


def precision_recall(images: Sequence[MaskMatches], category_ids: Sequence[int]) -> PrecisionRecall:
    """Add up images.

    Args:
        images: in the order that decides among predictions of equal score.
        category_ids: the categories, ascending.

    Returns:
        the curves.
    """
    num_ranges, num_thresholds, num = len(AREA_RANGES), len(THRESHOLDS), len(category_ids)
    precision = -np.ones((num_ranges, num_thresholds, len(RECALLS), num))
    score, recall = -np.ones(precision.shape[1:]), -np.ones((num_ranges, num_thresholds, num))
    few = -np.ones((2, num_thresholds, num))
    for place, one in enumerate(matches_by_class(images, category_ids)):
        for area, found in enumerate(one.counted.sum(axis=1).tolist()):
            if not found:
                continue
            right, wrong = (np.cumsum(one.outcome[area] == kind, axis=1) for kind in (RIGHT, WRONG))
            at, envelope = _points(right, wrong, np.full(1, found))
            precision[area, :, :, place] = envelope
            recall[area, :, place] = _last(right) / found
            if area == 0:
                score[:, :, place] = np.append(one.score, 0.0)[at]
                few[:, :, place] = [
                    (one.outcome[0][:, one.rank < limit] == RIGHT).sum(axis=1) / found
                    for limit in LIMITS[:2]
                ]
    return PrecisionRecall(np.array(category_ids, np.int64), precision, score, recall, few)


def matches_by_class(
    images: Sequence[MaskMatches], category_ids: Sequence[int]
) -> Iterator[ClassMatches]:
    """The matches of all images, category by category."""
    keys = (
        np.concatenate([image.category_id for image in images]) if images else np.zeros(0, np.int64)
    )
    owners = np.repeat(np.arange(len(images)), [len(image.score) for image in images])
    score, rank = (
        np.concatenate([getattr(image, name) for image in images] or [np.zeros(0)])
        for name in ("score", "rank")
    )
    shape = (len(AREA_RANGES), len(THRESHOLDS), 0)
    outcome = np.concatenate(
        [image.outcome for image in images] or [np.zeros(shape, np.uint8)], axis=2
    )
    true_keys = np.concatenate(
        [image.true_category_id for image in images] or [np.zeros(0, np.int64)]
    )
    true_owners = np.repeat(
        np.arange(len(images)), [len(image.true_category_id) for image in images]
    )
    counted = np.concatenate(
        [image.counted for image in images] or [np.zeros(shape[::2], bool)], axis=1
    )
    falling = np.argsort(-score, kind="stable")
    for key in category_ids:
        mine, truths = falling[keys[falling] == key], np.flatnonzero(true_keys == key)
        found = np.stack(
            [
                np.bincount(true_owners[truths], row[truths], minlength=len(images))
                for row in counted
            ]
        ).astype(np.int64)
        yield ClassMatches(score[mine], rank[mine], outcome[:, :, mine], owners[mine], found)


def _last(cumulated: Ints) -> Ints:
    return cumulated[..., -1] if cumulated.shape[-1] else np.zeros(cumulated.shape[:-1], np.int64)


def _points(right: Ints, wrong: Ints, found: Ints) -> tuple[Ints, Floats]:
    """Where each recall is reached first, and the best precision from there on.

    Args:
        right: (..., T, D) predictions right so far, by falling score.
        wrong: (..., T, D).
        found: (...) objects to be found, above 0.

    Returns:
        places (..., T, 101), D where a recall is not reached, and precision (..., T, 101), 0 there.
    """
    length = right.shape[-1]
    lines = right.reshape(len(found) * len(THRESHOLDS), length)
    precision = right / (wrong + right + np.spacing(1))
    best = np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1].reshape(lines.shape)
    needed = np.repeat(needed_right(found), len(THRESHOLDS), axis=0)  # (L, 101)
    # One search over all lines: each is lifted above its predecessor.
    lift = np.arange(len(lines))[:, None] * (int(found.max(initial=0)) + 2)
    at = (
        np.searchsorted((lines + lift).reshape(-1), (needed + lift).reshape(-1)).reshape(
            needed.shape
        )
        - length * np.arange(len(lines))[:, None]
    )
    padded = np.concatenate([best, np.zeros((len(lines), 1))], axis=1)
    shape = (*right.shape[:-1], len(RECALLS))
    return at.reshape(shape), np.take_along_axis(padded, at, axis=1).reshape(shape)


def needed_right(found: Ints) -> Ints:
    """The fewest right predictions whose share of `found` (L,) is at least each recall, (L, 101), as floating-point division has it."""
    objects = found[:, None]
    needed = np.ceil(RECALLS * objects).astype(np.int64)
    needed -= (needed - 1) / objects >= RECALLS
    needed += needed / objects < RECALLS
    return needed
