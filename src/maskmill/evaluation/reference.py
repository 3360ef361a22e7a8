"""What a trained model saw and how right it was: the reference of `maskmill monitor`.

reference.json lies beside the model. `train` writes it from training and validation images.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import numpy.typing as npt
import pydantic
from pydantic import Field

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import RGB
from maskmill.evaluation.observation import (
    NUM_BINS,
    CategoryKey,
    Count,
    Observation,
    confidence_bins,
    observe,
    pixel_confidence,
)
from maskmill.metrics.functional.segment_matching import Matches, SegmentOutcome, find_matches
from maskmill.postprocess.prediction import Prediction

DECIMALS = 4
IGNORED = -1.0  # the IoU of a predicted segment that counts neither as right nor as wrong

Iou = Annotated[float, Field(ge=-1, le=1)]
Score = Annotated[float, Field(ge=0, le=1)]


class PixelCount(NamedTuple):
    """Pixels of a predicted class and a bin of confidence that belong to a class.

    Classes are indices 0..K-1; K is background in `pred`, and background or void in `target`.
    """

    pred: Count
    bin: Count
    target: Count
    pixels: Count


@dataclass(frozen=True)
class LabelledObservation:
    """The statistics of an image whose labels are known.

    Args:
        seen: of image and prediction.
        pixels: how the classes of pixels compare.
        iou: of each segment of `seen` with the one that it matches, 0 if it matches none, -1 if it
            is ignored.
        missed: category id -> number of segments that nothing matches.
    """

    seen: Observation
    pixels: list[PixelCount]
    iou: list[Iou]
    missed: dict[CategoryKey, Count]


@dataclass(frozen=True)
class ShiftedScores:
    """Scores on a changed copy of the validation images.

    Args:
        name: of the change.
        expected: mIoU that their confidence lets expect.
        true: score -> its value.
    """

    name: str
    expected: Score
    true: dict[str, Score]


@dataclass(frozen=True)
class Reference:
    """The content of reference.json.

    Args:
        images: statistics of training images and of the predictions on them.
        labelled: validation images.
        shifted: scores on changed copies of the validation images.
        scores: the scores that are estimated: mIoU, and PQ or PQ/thing if the model finds segments.
    """

    images: list[Observation]
    labelled: list[LabelledObservation]
    shifted: list[ShiftedScores]
    scores: list[str]


FORM = pydantic.TypeAdapter(Reference)


def write_reference(reference: Reference) -> bytes:
    """The bytes of reference.json."""
    return FORM.dump_json(reference, exclude_defaults=True) + b"\n"


def read_reference(path: Path, *, digest: str | None) -> Reference:
    """The reference of a model.

    Args:
        path: of reference.json beside the model.
        digest: sha256 of the file, as model.json states it; None if it states none.

    Raises:
        FileNotFoundError: the model has no reference.
        ValueError: the file is damaged or belongs to another model.
    """
    if digest is None or not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected the statistics that `train` writes with train.calibrate=true, but "
            "there are none - train the model again"
        )
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError(
            f"{path}: expected the file that belongs to the model, but it has another digest - "
            "either copy the folder again or train the model again"
        )
    try:
        return FORM.validate_json(content, strict=True)
    except pydantic.ValidationError as error:
        finding = error.errors(include_url=False)[0]
        key = ".".join(map(str, finding["loc"]))
        raise ValueError(
            f"{path}: expected the statistics of a model, but {key} is not: {finding['msg']} - "
            "train the model again"
        ) from error


def label_observation(
    image: RGB,
    prediction: Prediction,
    target: Panoptic,
    target_classes: npt.NDArray[np.uint8],
    categories: Categories,
) -> LabelledObservation:
    """The statistics of an image with what its labels say about the prediction.

    Args:
        image: (H, W, 3) uint8 RGB.
        prediction: of the image.
        target: its labels.
        target_classes: (H, W) class indices of the labels; 255 is void.
        categories: of the data set.
    """
    background = categories.background_index is not None
    matches = find_matches(prediction.panoptic, target, categories, background=background)
    is_match = matches.pred.outcome == SegmentOutcome.MATCHED
    iou = np.where(is_match, matches.pred.iou, 0.0).round(DECIMALS)
    iou[matches.pred.outcome == SegmentOutcome.IGNORED] = IGNORED
    return LabelledObservation(
        observe(image, prediction),
        _count_pixels(prediction, target_classes, categories),
        iou.tolist(),
        _missed(matches, categories),
    )


def _count_pixels(
    prediction: Prediction, target_classes: npt.NDArray[np.uint8], categories: Categories
) -> list[PixelCount]:
    num_classes = categories.num_classes
    size = num_classes + 1
    pred = np.full(prediction.semantic.shape, num_classes, np.int64)
    for category_id, index in categories.index.items():
        pred[prediction.semantic == category_id] = index
    target = np.minimum(target_classes.astype(np.int64), num_classes)
    code = (pred * NUM_BINS + confidence_bins(pixel_confidence(prediction))) * size + target
    counts = np.bincount(code.ravel(), minlength=size * NUM_BINS * size)
    present = np.flatnonzero(counts)
    pred_bin, target_index = np.divmod(present, size)
    pred_index, bin_index = np.divmod(pred_bin, NUM_BINS)
    columns = np.stack([pred_index, bin_index, target_index, counts[present]], axis=1)
    return list(map(PixelCount._make, columns.tolist()))


def _missed(matches: Matches, categories: Categories) -> dict[str, int]:
    outcome = matches.target.outcome
    counted = (outcome != SegmentOutcome.MATCHED) & (outcome != SegmentOutcome.CROWD)
    missed = np.bincount(matches.target.index[counted], minlength=categories.num_classes)
    counts = {}
    for category_id, count in zip(categories.ids, missed.tolist(), strict=True):
        if count:
            counts[str(category_id)] = count
    return counts


def observed(labelled: Sequence[LabelledObservation]) -> list[Observation]:
    """The observations without what the labels say."""
    return list(map(attrgetter("seen"), labelled))
