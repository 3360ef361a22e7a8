"""Statistics of an image and its prediction: what a server may keep where it may not keep images.

An observation is a JSON object of about a kilobyte. A log of them is a file of JSON lines.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import pydantic
from pydantic import Field

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import VOID_ID, Panoptic
from maskmill.canonical.png import RGB
from maskmill.postprocess.prediction import Prediction

NUM_BINS = 20  # of confidences, of equal width in 0..1
DECIMALS = 4
NUM_DIGITS = 12  # of a fingerprint, which names the model in a log

Floats = npt.NDArray[np.float64]
Count = Annotated[int, Field(ge=0, lt=2**40)]
Side = Annotated[int, Field(ge=1, lt=2**31)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Number = Annotated[float, Field(ge=0, le=1e6)]
Channels = Annotated[list[Number], Field(min_length=3, max_length=3)]
Bins = Annotated[list[Count], Field(min_length=NUM_BINS, max_length=NUM_BINS)]
CategoryKey = Annotated[str, Field(pattern=r"^(-1|\d{1,10})$")]


class ObservedSegment(NamedTuple):
    """Category id, area in px and score of a predicted segment."""

    category_id: Count
    area: Side
    score: Fraction


@dataclass(frozen=True)
class Observation:
    """What is kept of an image and its prediction.

    Args:
        height: of the image in px.
        width: of the image in px.
        rgb_mean: mean of each channel, 0..255.
        rgb_std: standard deviation of each channel.
        sharpness: variance of the Laplacian of the luma (Pech-Pacheco et al., ICPR 2000).
        confidence: category id as text -> number of pixels in each of 20 bins of confidence; "-1"
            is background. Empty without a prediction.
        void: number of pixels in no segment.
        segments: the predicted segments.
        time: UTC, ISO 8601; empty where it does not matter.
        version: of the model; empty where it does not matter.
        name: of the image, to find it again; empty if it must not be kept.
    """

    height: Side
    width: Side
    rgb_mean: Channels
    rgb_std: Channels
    sharpness: Annotated[float, Field(ge=0, le=1e8)]
    confidence: dict[CategoryKey, Bins]
    void: Count
    segments: list[ObservedSegment]
    time: str = field(default="", kw_only=True)
    version: str = field(default="", kw_only=True)
    name: str = field(default="", kw_only=True)

    @property
    def pixels(self) -> int:
        """Number of pixels of the image."""
        return self.height * self.width


FORM = pydantic.TypeAdapter(Observation)


def observe(
    image: RGB,
    prediction: Prediction | None,
    *,
    time: str = "",
    version: str = "",
    name: str = "",
) -> Observation:
    """Measure an image and its prediction.

    Args:
        image: (H, W, 3) uint8 RGB.
        prediction: of the image, at its size; None: the image alone is measured.
        time: see `Observation`.
        version: see `Observation`.
        name: see `Observation`.

    Example:
        >>> from maskmill.canonical.panoptic import Panoptic
        >>> gray = np.full((2, 2, 3), 128, np.uint8)
        >>> ids = np.ones((2, 2), np.int32)
        >>> road = Panoptic.from_ids(ids, {1: 7}, scores={1: 0.9})
        >>> confidence = np.full((2, 2), 0.98, np.float32)
        >>> seen = observe(gray, Prediction(7 * ids, road, confidence))
        >>> seen.rgb_mean, seen.segments
        ([128.0, 128.0, 128.0], [ObservedSegment(category_id=7, area=4, score=0.9)])
    """
    mean, std = cv2.meanStdDev(image)
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    _, edges = cv2.meanStdDev(cv2.Laplacian(luma, cv2.CV_16S))
    height, width = image.shape[:2]
    confidence = {} if prediction is None else count_confidence(prediction)
    panoptic = None if prediction is None else prediction.panoptic
    void = 0 if panoptic is None else int(np.count_nonzero(panoptic.ids == VOID_ID))
    return Observation(
        height,
        width,
        mean.ravel().round(DECIMALS).tolist(),
        std.ravel().round(DECIMALS).tolist(),
        round(float(edges[0, 0]) ** 2, DECIMALS),
        confidence,
        void,
        [] if panoptic is None else _segments(panoptic),
        time=time,
        version=version,
        name=name,
    )


def confidence_bins(confidence: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """The bin of each confidence, 0..19."""
    bins = (confidence * NUM_BINS).astype(np.int64)
    return np.clip(bins, 0, NUM_BINS - 1)


def pixel_confidence(prediction: Prediction) -> npt.NDArray[np.float32]:
    """The confidence (H, W) of a prediction; 1 where the inference does not keep it."""
    if prediction.confidence is None:
        return np.ones(prediction.semantic.shape, np.float32)
    return prediction.confidence


def count_confidence(prediction: Prediction) -> dict[str, list[int]]:
    """Pixels by predicted category and bin of confidence."""
    confidence = pixel_confidence(prediction)
    present, index = np.unique(prediction.semantic, return_inverse=True)
    code = index.reshape(-1) * NUM_BINS + confidence_bins(confidence).reshape(-1)
    counts = np.bincount(code, minlength=len(present) * NUM_BINS).reshape(-1, NUM_BINS)
    return dict(zip(map(str, present.tolist()), counts.tolist(), strict=True))


def _segments(panoptic: Panoptic) -> list[ObservedSegment]:
    rows = []
    for segment in panoptic.segments:
        score = 1.0 if segment.score is None else segment.score
        rows.append(ObservedSegment(segment.category_id, segment.area, round(score, DECIMALS)))
    return rows


def class_bins(observations: Sequence[Observation], categories: Categories) -> Floats:
    """Pixels by predicted class and confidence: (N, K + 1, B); the last class is background."""
    table = np.zeros((len(observations), categories.num_classes + 1, NUM_BINS))
    for row, seen in zip(table, observations, strict=True):
        for key, bins in seen.confidence.items():
            row[categories.index.get(int(key), -1)] += bins
    return table


class ObservationLog:
    """Appends observations to a file, a line for each; several threads and processes may share it.

    The file is opened for every line, so that it may be moved away at any time, as logrotate does.

    Args:
        path: of the log; its folder is made.
        version: of the model that predicts.
    """

    def __init__(self, path: Path, *, version: str = "") -> None:
        self.path = path
        self.version = version
        path.parent.mkdir(parents=True, exist_ok=True)

    def observe(self, image: RGB, prediction: Prediction, *, name: str = "") -> None:
        """Append the statistics of an answered request.

        Args:
            image: (H, W, 3) uint8 RGB.
            prediction: of the image.
            name: to find the image again; empty if it must not be kept.
        """
        time = datetime.now(UTC).isoformat(timespec="seconds")
        seen = observe(image, prediction, time=time, version=self.version, name=name)
        line = FORM.dump_json(seen, exclude_defaults=True) + b"\n"
        # One write in append mode: lines of several processes do not mix.
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)


def read_log(path: Path) -> Iterator[Observation]:
    """The observations of a log, in order.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: a line is not an observation; the last may be incomplete, if a server is
            writing it.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected the log of a server, but there is none - either start `maskmill "
            "serve` with serve.log, or set monitor.images to a folder"
        )
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            yield parse_observation(line, f"{path}:{number}")


def parse_observation(line: bytes, where: str) -> Observation:
    """The observation of a line.

    Args:
        line: JSON.
        where: the line, for messages.

    Raises:
        ValueError: it is not an observation.
    """
    try:
        return FORM.validate_json(line, strict=True)
    except pydantic.ValidationError as error:
        finding = error.errors(include_url=False)[0]
        key = ".".join(map(str, finding["loc"])) or "the line"
        found = repr(finding["input"])[:80]
        raise ValueError(
            f"{where}: expected the statistics of an image, but got {found} for {key} "
            f"({finding['msg']}) - remove the line"
        ) from error
