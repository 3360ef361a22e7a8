"""Crops of errors worth a look: confident errors, which may be label errors, and large misses."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from maskmill.canonical.panoptic import Panoptic, Segment
from maskmill.canonical.png import RGB
from maskmill.metrics.functional.segment_matching import SegmentOutcome, Segments
from maskmill.reporting.drawing import draw_contours
from maskmill.reporting.examples import Gallery
from maskmill.reporting.pages import format_percent
from maskmill.reporting.pictures import (
    HIGHLIGHT,
    PHOTOGRAPH,
    Size,
    encode_jpegs,
    find_image,
    resize_ids,
    resize_image,
)

SIDE = 260  # px of a crop's longer side
CONTEXT = 0.5  # of the object's larger side, on each side of it
MIN_CONTEXT = 12  # px
NO_SCORE = -1.0  # ranks predictions without a score behind all others
BLACK = (0, 0, 0)
Window = tuple[slice, slice]  # rows and columns
Side = Literal["ground truth", "prediction"]
Outline = Sequence[npt.NDArray[Any]]  # as OpenCV finds it
FALSE_POSITIVES = (
    SegmentOutcome.BACKGROUND_ERROR,
    SegmentOutcome.CLASSIFICATION_ERROR,
    SegmentOutcome.LOCALIZATION_ERROR,
)
CONFIDENT = "Most confident false positives"
CHECK_CONFIDENT = "Predicted, but not in the ground truth: check whether the label is right."
MISSED = "Largest missed segments"
CHECK_MISSED = "In the ground truth, but not predicted: check whether the label is right."
DESCRIPTIONS = {
    SegmentOutcome.BACKGROUND_ERROR: "background error: the ground truth has no such segment",
    SegmentOutcome.CLASSIFICATION_ERROR: "classification error: the ground truth says {partner}",
    SegmentOutcome.LOCALIZATION_ERROR: "localization error: IoU {iou} with the ground truth",
    SegmentOutcome.MISSED: "missed: no such segment was predicted",
}


@dataclass(frozen=True)
class SegmentError:
    """A segment without a match: index of its image, its row among the segments, its rank."""

    image: int
    row: int
    rank: tuple[float, float]


@dataclass(frozen=True)
class ErrorCrop:
    """An error: class, description and file name, and its pictures as data URIs by name."""

    class_name: str
    description: str
    file_name: str
    pictures: dict[str, str]


@dataclass(frozen=True)
class ErrorGroup:
    """Errors of one kind."""

    title: str
    note: str
    crops: list[ErrorCrop]


def draw_error_crops(gallery: Gallery) -> list[ErrorGroup]:
    """The crops of both kinds, without kinds of no error; class masks have no segments to show."""
    if not gallery.task.counts_segments:
        return []
    confident = []
    for error in confident_errors(gallery):
        confident.append(_draw_crop(gallery, error, "prediction"))
    missed = []
    for error in missed_objects(gallery):
        missed.append(_draw_crop(gallery, error, "ground truth"))
    groups = []
    if confident:
        groups.append(ErrorGroup(CONFIDENT, CHECK_CONFIDENT, confident))
    if missed:
        groups.append(ErrorGroup(MISSED, CHECK_MISSED, missed))
    return groups


def confident_errors(gallery: Gallery) -> list[SegmentError]:
    """False positives by descending score, then area; one per image, so that no image dominates."""
    errors = []
    for index, image in enumerate(gallery.analysis.evaluation.images):
        segments = image.matches.pred
        scores = np.nan_to_num(segments.score, nan=NO_SCORE)
        for row in np.flatnonzero(np.isin(segments.outcome, FALSE_POSITIVES)).tolist():
            rank = (float(scores[row]), float(segments.area[row]))
            errors.append(SegmentError(index, row, rank))
    return _first_of_each_image(errors, gallery.num_examples)


def missed_objects(gallery: Gallery) -> list[SegmentError]:
    """Missed things by descending area, one per image; missed stuff if no class is a thing."""
    isthing = gallery.analysis.evaluation.categories.isthing
    errors = []
    for index, image in enumerate(gallery.analysis.evaluation.images):
        segments = image.matches.target
        counted = isthing[segments.index] | ~isthing.any()
        missed = (segments.outcome == SegmentOutcome.MISSED) & counted
        for row in np.flatnonzero(missed).tolist():
            errors.append(SegmentError(index, row, (float(segments.area[row]), 0.0)))
    return _first_of_each_image(errors, gallery.num_examples)


def _first_of_each_image(errors: list[SegmentError], num_examples: int) -> list[SegmentError]:
    best: dict[int, SegmentError] = {}
    for error in errors:
        if error.image not in best or error.rank > best[error.image].rank:
            best[error.image] = error
    in_order = sorted(best.values(), key=lambda error: error.image)
    in_order.sort(key=lambda error: error.rank, reverse=True)
    return in_order[: 2 * num_examples]


def _draw_crop(gallery: Gallery, error: SegmentError, side: Side) -> ErrorCrop:
    """The crop around a segment of one side."""
    scores = gallery.analysis.evaluation.images[error.image]
    record = scores.record
    categories = gallery.analysis.evaluation.categories
    labels_of: dict[Side, Panoptic] = {
        "ground truth": gallery.target.panoptic(record.id),
        "prediction": gallery.pred.panoptic(record.id),
    }
    panoptic = labels_of[side]
    segments = scores.matches.pred if side == "prediction" else scores.matches.target
    segment_id = int(segments.id[error.row])
    segment = next(segment for segment in panoptic.segments if segment.id == segment_id)
    window = _window(panoptic, segment)
    size = _crop_size(window)
    image = find_image(gallery.images, record)[window]
    image = resize_image(image, size, enlarge=cv2.INTER_LINEAR)
    drawings = {PHOTOGRAPH: image}
    for name, labels in labels_of.items():
        cropped = _crop_labels(labels, window, size)
        drawings[name] = draw_contours(image, cropped, categories)
    outline = _outline(panoptic, segment, window, size)
    for name, drawing in drawings.items():
        drawings[name] = _highlight(drawing, outline)
    pictures = encode_jpegs(drawings)
    class_name = categories[segment.category_id].name
    description = _describe(gallery, error, segments)
    return ErrorCrop(class_name, description, record.file_name, pictures)


def _describe(gallery: Gallery, error: SegmentError, segments: Segments) -> str:
    """Score, area and kind of an error."""
    row = error.row
    targets = gallery.analysis.evaluation.images[error.image].matches.target
    partner_index = targets.index[targets.id == segments.partner[row]]
    partner = "something else"
    if len(partner_index):
        categories = list(gallery.analysis.evaluation.categories)
        partner = categories[int(partner_index[0])].name
    iou = format_percent(float(segments.iou[row]))
    outcome = SegmentOutcome(int(segments.outcome[row]))
    description = DESCRIPTIONS[outcome].format(partner=partner, iou=iou)
    area = f"{int(segments.area[row])} px"
    if np.isnan(segments.score[row]):
        return f"{area}: {description}"
    score = format_percent(float(segments.score[row]))
    return f"score {score}, {area}: {description}"


def _window(panoptic: Panoptic, segment: Segment) -> Window:
    """The rows and columns of a segment and its surroundings."""
    x, y, width, height = segment.bbox
    context = max(MIN_CONTEXT, round(CONTEXT * max(width, height)))
    image_height, image_width = panoptic.size
    rows = slice(max(0, y - context), min(image_height, y + height + context))
    columns = slice(max(0, x - context), min(image_width, x + width + context))
    return rows, columns


def _crop_size(window: Window) -> Size:
    rows, columns = window
    height, width = rows.stop - rows.start, columns.stop - columns.start
    factor = SIDE / max(height, width)
    return max(1, round(width * factor)), max(1, round(height * factor))


def _crop_labels(panoptic: Panoptic, window: Window, size: Size) -> Panoptic:
    return Panoptic.from_ids(resize_ids(panoptic.ids[window], size), panoptic.category_of)


def _outline(panoptic: Panoptic, segment: Segment, window: Window, size: Size) -> Outline:
    """The outline of a segment in a crop of this size."""
    mask = (panoptic.ids[window] == segment.id).astype(np.uint8)
    mask = resize_image(mask, size, shrink=cv2.INTER_NEAREST)
    outline, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return outline


def _highlight(drawing: RGB, outline: Outline) -> RGB:
    """The outline in yellow on black."""
    canvas = np.ascontiguousarray(drawing)
    for color, thickness in ((BLACK, 4), (HIGHLIGHT, 2)):
        cv2.drawContours(canvas, outline, -1, color, thickness)
    return canvas
