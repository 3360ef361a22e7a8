"""An evaluation as sums that can be weighted image by image: of classes, of objects by size, and AP."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from maskmill.evaluation.bootstrap import Array, Score
from maskmill.evaluation.evaluation import Evaluation, thing_ids
from maskmill.evaluation.image_counts import (
    BOUNDARY,
    INTERSECTION,
    LOST,
    NUM_FIELDS,
    PANOPTIC,
    TARGET,
    UNION,
    ImageSums,
)
from maskmill.evaluation.weighted_ap import ApSums
from maskmill.metrics.functional.calibration_error import Reliability, reliability, scored_segments
from maskmill.metrics.functional.segment_matching import SegmentOutcome, Segments

SIZES = {
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, np.inf),
}  # COCO's bounds, pixels: from the first to below the second
UNMATCHED = (SegmentOutcome.CLASSIFICATION_ERROR, SegmentOutcome.LOCALIZATION_ERROR)


def sums_of(evaluation: Evaluation) -> ImageSums:
    """The counts of an evaluation's images by class."""
    num_images, num_classes = len(evaluation.images), evaluation.categories.num_classes
    table = np.zeros((num_images, num_classes + 1, NUM_FIELDS))
    counts = np.stack([image.counts for image in evaluation.images])  # (N, K, 8)
    table[:, :-1, PANOPTIC], table[:, :-1, LOST] = counts[..., :4], counts[..., 4:]
    image, (truth, pred, pixels) = _listed([one.pairs for one in evaluation.images])
    counted = (truth < num_classes) | evaluation.background  # pixels whose class is known
    right = counted & (truth == pred)
    np.add.at(table, (image[counted], truth[counted], TARGET), pixels[counted])
    np.add.at(table, (image[right], truth[right], INTERSECTION), pixels[right])
    for side in (truth, pred):
        np.add.at(table, (image[counted], side[counted], UNION), pixels[counted])
    table[..., UNION] -= table[..., INTERSECTION]
    image, (index, both, either) = _listed([one.boundary for one in evaluation.images])
    table[image, index, BOUNDARY] = np.stack([both, either], axis=1)
    names = tuple(category.name for category in evaluation.categories)
    return ImageSums(
        tuple(one.record.file_name for one in evaluation.images),
        names,
        evaluation.categories.isthing,
        table,
    )


def sums_by_size(evaluation: Evaluation, whole: ImageSums) -> dict[str, ImageSums]:
    """The counts of things by size: a true one, and the prediction it matches, by the true area; an unmatched prediction by its own."""
    image_of_pred, pred = _columns([image.matches.pred for image in evaluation.images])
    image_of_true, true = _columns([image.matches.target for image in evaluation.images])
    sums = {}
    for name, (lowest, below) in SIZES.items():
        table = np.full(whole.table.shape, np.nan)  # pixels have no size
        table[..., [*range(4), *range(LOST.start, LOST.stop)]] = 0
        for image, side, columns in (
            (
                image_of_true,
                true,
                {
                    SegmentOutcome.MATCHED: (1,),
                    SegmentOutcome.MISSED: (3,),
                    SegmentOutcome.CLASSIFICATION_ERROR: (3, 11),
                    SegmentOutcome.LOCALIZATION_ERROR: (3, 12),
                },
            ),
            (
                image_of_pred,
                pred,
                {
                    SegmentOutcome.BACKGROUND_ERROR: (2,),
                    SegmentOutcome.CLASSIFICATION_ERROR: (2, 9),
                    SegmentOutcome.LOCALIZATION_ERROR: (2, 10),
                },
            ),
        ):
            of_size = (side.area >= lowest) & (side.area < below) & whole.isthing[side.index]
            for outcome, fields in columns.items():
                chosen = of_size & (side.outcome == outcome)
                for field in fields:
                    np.add.at(table, (image[chosen], side.index[chosen], field), 1)
                if outcome == SegmentOutcome.MATCHED:
                    np.add.at(table, (image[chosen], side.index[chosen], 0), side.iou[chosen])
        sums[name] = replace(whole, table=table)
    return sums


def num_objects(evaluation: Evaluation) -> npt.NDArray[np.int64]:
    """True things of each image, crowds left out, (N,)."""
    isthing = evaluation.categories.isthing
    sides = [image.matches.target for image in evaluation.images]
    return np.array(
        [
            np.count_nonzero(isthing[side.index] & (side.outcome != SegmentOutcome.CROWD))
            for side in sides
        ]
    )


def reliability_by_image(evaluation: Evaluation) -> Array:
    """What each image adds to `Reliability`, (N, 3, B): number, sum of scores, right.

    Raises:
        ValueError: a score is not in 0..1.
    """
    images = [reliability(*scored_segments([image.matches])) for image in evaluation.images]
    return np.stack([[image.number, image.score_sum, image.right] for image in images])


def calibration_error(table: Array, weights: Array) -> Array:
    """ECE for each row of image weights (R, N), from (N, 3, B): (R,)."""
    totals = np.tensordot(weights, table, axes=1)
    return np.array([Reliability(*bins).ece for bins in totals])


def score_of(evaluation: Evaluation, sums: ImageSums) -> Score:
    """All headline numbers that images can be weighted in, and "PQ/class", "IoU/class", "AP/class"."""
    order = sorted(
        range(len(evaluation.images)), key=lambda number: evaluation.images[number].record.id
    )  # as evaluation.ap
    things = thing_ids(evaluation.categories)
    places = [evaluation.categories.index[key] for key in things]
    sides = [
        (prefix, ApSums(matches, things, sizes=not prefix))
        for prefix, name in (("", "masks"), ("boundary_", "mask_boundaries"))
        if things
        and (
            matches := [
                found
                for number in order
                if (found := getattr(evaluation.images[number], name)) is not None
            ]
        )
    ]

    def score(weights: Array) -> dict[str, Array]:
        scores = sums.score(weights)
        for prefix, side in sides:
            of_side = side.score(weights[:, order])
            of_class = np.full((len(weights), evaluation.categories.num_classes), np.nan)
            of_class[:, places] = of_side.pop("AP/class")
            scores |= {f"{prefix}{name}": values for name, values in of_side.items()} | (
                {} if prefix else {"AP/class": of_class}
            )
        return scores

    return score


def _listed(
    rows: Sequence[npt.NDArray[np.int64]],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Which image each row of the images' tables is of, and their columns."""
    return np.repeat(np.arange(len(rows)), [len(some) for some in rows]), np.concatenate(rows).T


def _columns(sides: Sequence[Segments]) -> tuple[npt.NDArray[np.int64], Segments]:
    """The segments of all images, and which image each is in."""
    names = ("id", "index", "area", "score", "iou", "partner", "outcome")
    owner = np.repeat(np.arange(len(sides)), [len(side.id) for side in sides])
    return owner, Segments(
        *(np.concatenate([getattr(side, name) for side in sides]) for name in names)
    )
