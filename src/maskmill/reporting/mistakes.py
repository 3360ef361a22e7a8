"""What to look at first: confident predictions that match nothing, which may be errors of the labels, and large misses."""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

import cv2
import numpy as np

from maskmill.canonical.panoptic import Panoptic, Segment
from maskmill.canonical.png import RGB
from maskmill.metrics.functional.segment_matching import SegmentOutcome, Segments
from maskmill.reporting.drawing import overlay
from maskmill.reporting.examples import Gallery
from maskmill.reporting.markup import percent
from maskmill.reporting.pictures import WRONG, find_image, picture

SIDE = 260  # px of a crop's longer side
CONTEXT = 0.5  # of the object's larger side, all around it
MIN_CONTEXT = 12  # px
WORDS = {
    SegmentOutcome.BACKGROUND_ERROR: "the truth has nothing like it",
    SegmentOutcome.CLASSIFICATION_ERROR: "the truth calls it {partner}",
    SegmentOutcome.LOCALIZATION_ERROR: "the truth outlines it otherwise, IoU {iou}",
    SegmentOutcome.MISSED: "nothing like it was predicted",
}


@dataclass(frozen=True)
class Mistake:
    """A segment that matches none: the image's place, and the segment's row among its side's."""

    image: int
    row: int
    rank: tuple[float, float]


def confident(gallery: Gallery) -> list[Mistake]:
    """Predicted segments without a match, by falling score, then area; one an image, so that no image fills the list."""
    found = []
    for place, image in enumerate(gallery.analysis.evaluation.images):
        side = image.matches.pred
        for row in np.flatnonzero(
            np.isin(
                side.outcome,
                (
                    SegmentOutcome.BACKGROUND_ERROR,
                    SegmentOutcome.CLASSIFICATION_ERROR,
                    SegmentOutcome.LOCALIZATION_ERROR,
                ),
            )
        ).tolist():
            found.append(
                Mistake(
                    place,
                    row,
                    (float(np.nan_to_num(side.score[row], nan=-1.0)), float(side.area[row])),
                )
            )
    return _first_of_images(found, gallery.num_examples)


def missed(gallery: Gallery) -> list[Mistake]:
    """True objects nothing was predicted for, by falling area; one an image. Of stuff where nothing is countable."""
    isthing = gallery.analysis.evaluation.categories.isthing
    found = []
    for place, image in enumerate(gallery.analysis.evaluation.images):
        side = image.matches.target
        wanted = (side.outcome == SegmentOutcome.MISSED) & (isthing[side.index] | ~isthing.any())
        found += [
            Mistake(place, row, (float(side.area[row]), 0.0))
            for row in np.flatnonzero(wanted).tolist()
        ]
    return _first_of_images(found, gallery.num_examples)


def _first_of_images(found: list[Mistake], num_examples: int) -> list[Mistake]:
    best: dict[int, Mistake] = {}
    for mistake in found:
        if mistake.image not in best or mistake.rank > best[mistake.image].rank:
            best[mistake.image] = mistake
    return sorted(
        best.values(), key=lambda mistake: (-mistake.rank[0], -mistake.rank[1], mistake.image)
    )[: 2 * num_examples]


def mistakes(gallery: Gallery) -> Iterator[str]:
    """The sections."""
    for title, words, chosen, of_truth in (
        (
            "Most confident mistakes",
            "Predicted, but not so in the truth: look whether the label is right.",
            confident(gallery),
            False,
        ),
        ("Largest misses", "In the truth, but not predicted: likewise.", missed(gallery), True),
    ):
        if chosen:
            figures = "".join(_figure(gallery, mistake, of_truth=of_truth) for mistake in chosen)
            yield f'<h3>{title}</h3><p>{words} One an image, outlined in yellow.</p><div class="crops">{figures}</div>'


def _figure(gallery: Gallery, mistake: Mistake, *, of_truth: bool) -> str:
    image = gallery.analysis.evaluation.images[mistake.image]
    side = image.matches.target if of_truth else image.matches.pred
    truth, guess = gallery.truth.panoptic(image.record.id), gallery.guess.panoptic(image.record.id)
    segments = {segment.id: segment for segment in (truth if of_truth else guess).segments}
    segment = segments[int(side.id[mistake.row])]
    pixels = find_image(gallery.images, image.record)
    categories = gallery.analysis.evaluation.categories
    marked = truth if of_truth else guess
    views = {
        "image": pixels,
        "truth": overlay(pixels, truth, categories),
        "prediction": overlay(pixels, guess, categories),
    }
    cells = [
        f'<div><img alt="{name}" src="{picture(_crop(view, marked, segment))}"><small>{name}</small></div>'
        for name, view in views.items()
    ]
    caption = f"<b>{escape(categories[segment.category_id].name)}</b> {_facts(gallery, mistake, side)}<br>{escape(image.record.file_name)}"
    return f'<figure><div class="views three">{"".join(cells)}</div><figcaption>{caption}</figcaption></figure>'


def _facts(gallery: Gallery, mistake: Mistake, side: Segments) -> str:
    """What is known of the mistake, markup."""
    image, row = gallery.analysis.evaluation.images[mistake.image], mistake.row
    others = image.matches.target
    index = others.index[others.id == side.partner[row]]
    categories = list(gallery.analysis.evaluation.categories)
    partner = escape(categories[int(index[0])].name) if len(index) else "something else"
    words = WORDS[SegmentOutcome(int(side.outcome[row]))].format(
        partner=partner, iou=percent(float(side.iou[row]))
    )
    score = "" if np.isnan(side.score[row]) else f"score {percent(float(side.score[row]))}, "
    return f"{score}{int(side.area[row])} px: {words}"


def _crop(view: RGB, panoptic: Panoptic, segment: Segment) -> RGB:
    """The segment with what lies around it, its outline yellow on black."""
    x, y, width, height = segment.bbox
    around = max(MIN_CONTEXT, round(CONTEXT * max(width, height)))
    rows, columns = (
        slice(max(0, y - around), y + height + around),
        slice(max(0, x - around), x + width + around),
    )
    part, mask = view[rows, columns], (panoptic.ids[rows, columns] == segment.id).astype(np.uint8)
    factor = SIDE / max(mask.shape)
    size = (max(1, round(mask.shape[1] * factor)), max(1, round(mask.shape[0] * factor)))
    part = cv2.resize(
        part, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    ).astype(np.uint8, copy=False)
    mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST).astype(np.uint8, copy=False)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    canvas = np.ascontiguousarray(part)
    for color, thickness in (((0, 0, 0), 4), (WRONG, 2)):
        cv2.drawContours(canvas, outlines, -1, color, thickness)
    return canvas
