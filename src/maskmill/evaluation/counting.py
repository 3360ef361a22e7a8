"""An evaluation as counts that can be weighted image by image: by class, by object size, and AP."""

from collections.abc import Iterator
from dataclasses import replace
from operator import attrgetter

import numpy as np
import numpy.typing as npt

from maskmill.evaluation.bootstrap import Array, Score
from maskmill.evaluation.evaluation import Evaluation
from maskmill.evaluation.folders import thing_ids
from maskmill.evaluation.image_counts import NUM_FIELDS, PANOPTIC, Field, ImageCounts
from maskmill.evaluation.scored_images import AllSegments
from maskmill.evaluation.weighted_ap import WeightedAP
from maskmill.metrics.functional.calibration_error import Reliability, reliability, scored_segments
from maskmill.metrics.functional.segment_matching import SegmentOutcome

Ints = npt.NDArray[np.int64]

SIZES = {  # COCO's bounds in pixels: from the first to below the second
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, np.inf),
}
# The fields in which a segment counts, by its outcome.
FIELDS_OF_TARGET: dict[SegmentOutcome, tuple[Field, ...]] = {
    SegmentOutcome.MATCHED: (Field.TP,),
    SegmentOutcome.MISSED: (Field.FN,),
    SegmentOutcome.CLASSIFICATION_ERROR: (Field.FN, Field.FN_CLASSIFICATION),
    SegmentOutcome.LOCALIZATION_ERROR: (Field.FN, Field.FN_LOCALIZATION),
}
FIELDS_OF_PRED: dict[SegmentOutcome, tuple[Field, ...]] = {
    SegmentOutcome.BACKGROUND_ERROR: (Field.FP,),
    SegmentOutcome.CLASSIFICATION_ERROR: (Field.FP, Field.FP_CLASSIFICATION),
    SegmentOutcome.LOCALIZATION_ERROR: (Field.FP, Field.FP_LOCALIZATION),
}


def count_images(evaluation: Evaluation) -> ImageCounts:
    """The counts of an evaluation's images by class."""
    num_classes = evaluation.categories.num_classes
    table = np.zeros((len(evaluation.images), num_classes + 1, NUM_FIELDS))
    for row, image in zip(table, evaluation.images, strict=True):
        row[:-1, PANOPTIC] = image.counts
        boundary = image.boundary
        row[boundary.index, Field.BOUNDARY_INTERSECTION] = boundary.intersection
        row[boundary.index, Field.BOUNDARY_UNION] = boundary.union
    _count_pixels(table, evaluation)
    return ImageCounts(
        images=tuple(map(attrgetter("file_name"), evaluation.images.records)),
        categories=tuple(category.name for category in evaluation.categories),
        isthing=evaluation.categories.isthing,
        table=table,
    )


def _count_pixels(table: Array, evaluation: Evaluation) -> None:
    """Fill the intersection, union and target of a table (N, K + 1, 13)."""
    num_classes = evaluation.categories.num_classes
    for row, image in zip(table, evaluation.images, strict=True):
        pairs = image.pairs
        counted = (pairs.target < num_classes) | evaluation.background
        target = pairs.target[counted]
        pred = pairs.pred[counted]
        pixels = pairs.pixels[counted]
        matched = target == pred
        np.add.at(row[:, Field.TARGET], target, pixels)
        np.add.at(row[:, Field.INTERSECTION], target[matched], pixels[matched])
        np.add.at(row[:, Field.UNION], target, pixels)
        np.add.at(row[:, Field.UNION], pred, pixels)
    table[..., Field.UNION] -= table[..., Field.INTERSECTION]


def count_by_size(evaluation: Evaluation, counts: ImageCounts) -> Iterator[tuple[str, ImageCounts]]:
    """The counts of things by size, one size after the other.

    A target segment, and the prediction that it matches, has the size of the target; an unmatched
    prediction has its own.
    """
    for name, bounds in SIZES.items():
        yield name, replace(counts, table=_table_of_size(evaluation, counts, bounds))


def _table_of_size(
    evaluation: Evaluation, counts: ImageCounts, bounds: tuple[float, float]
) -> Array:
    """The things of one size, (N, K + 1, 13)."""
    table = np.full(counts.table.shape, np.nan)  # pixels have no size
    table[..., PANOPTIC] = 0
    target = evaluation.images.segments("target")
    _count_segments(table, target, FIELDS_OF_TARGET, bounds, counts.isthing)
    pred = evaluation.images.segments("pred")
    _count_segments(table, pred, FIELDS_OF_PRED, bounds, counts.isthing)
    return table


def _count_segments(
    table: Array,
    side: AllSegments,
    fields_of: dict[SegmentOutcome, tuple[Field, ...]],
    bounds: tuple[float, float],
    isthing: npt.NDArray[np.bool_],
) -> None:
    """Add the things of a size to a table (N, K + 1, 13)."""
    # for each segment of the size:  table[image, class, fields of its outcome] += 1
    segments = side.segments
    lowest, below = bounds
    of_size = (segments.area >= lowest) & (segments.area < below) & isthing[segments.index]
    for outcome, counted_in in fields_of.items():
        chosen = of_size & (segments.outcome == outcome)
        image = side.image[chosen]
        index = segments.index[chosen]
        for field in counted_in:
            np.add.at(table, (image, index, field), 1)
        if outcome == SegmentOutcome.MATCHED:
            np.add.at(table, (image, index, Field.IOU_SUM), segments.iou[chosen])


def count_objects(evaluation: Evaluation) -> Ints:
    """Target things of each image without crowds, (N,)."""
    isthing = evaluation.categories.isthing
    counts = []
    for image in evaluation.images:
        target = image.matches.target
        objects = isthing[target.index] & (target.outcome != SegmentOutcome.CROWD)
        counts.append(np.count_nonzero(objects))
    return np.array(counts)


def reliability_by_image(evaluation: Evaluation) -> Array:
    """What each image adds to the fields of `Reliability`, (N, 3, B).

    Raises:
        ValueError: a score is not in 0..1.
    """
    rows = []
    for image in evaluation.images:
        score, correct = scored_segments([image.matches])
        bins = reliability(score, correct)
        rows.append([bins.count, bins.score_sum, bins.num_correct])
    return np.array(rows)


def calibration_error(bins: Array, weights: Array) -> Array:
    """The expected calibration error for each row of image weights.

    Args:
        bins: (N, 3, B), see `reliability_by_image`.
        weights: (R, N).

    Returns:
        (R,).
    """
    totals = np.tensordot(weights, bins, axes=1)
    return np.array([Reliability(*total).ece for total in totals])


def build_score(evaluation: Evaluation, counts: ImageCounts) -> Score:
    """A function that gives the headline numbers of weighted images, but the calibration error.

    It also gives "PQ/class", "IoU/class" and "AP/class".
    """
    images = evaluation.images
    by_id = sorted(range(len(images)), key=lambda index: images.records[index].id)  # as for AP
    things = thing_ids(evaluation.categories)
    class_of_thing = [evaluation.categories.index[category_id] for category_id in things]
    masks = []
    mask_boundaries = []
    for index in by_id:
        image = images[index]
        if image.masks is not None:
            masks.append(image.masks)
        if image.mask_boundaries is not None:
            mask_boundaries.append(image.mask_boundaries)
    ap = WeightedAP(masks, things, sizes=True) if masks and things else None
    boundary_ap = None
    if mask_boundaries and things:
        boundary_ap = WeightedAP(mask_boundaries, things, sizes=False)

    def score(weights: Array) -> dict[str, Array]:
        scores = counts.score(weights)
        if ap is not None:
            numbers = ap.score(weights[:, by_id])
            ap_of_class = np.full((len(weights), evaluation.categories.num_classes), np.nan)
            ap_of_class[:, class_of_thing] = numbers.pop("AP/class")
            scores |= numbers
            scores["AP/class"] = ap_of_class
        if boundary_ap is not None:
            numbers = boundary_ap.score(weights[:, by_id])
            del numbers["AP/class"]
            for name, values in numbers.items():
                scores[f"boundary_{name}"] = values
        return scores

    return score
