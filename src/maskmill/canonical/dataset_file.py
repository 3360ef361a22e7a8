"""The form of dataset.json, prediction.json and evidence.json, which the stages write."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, NotRequired

import pydantic
from annotated_types import Ge, Gt, Le
from pydantic import Field, FiniteFloat, with_config
from typing_extensions import TypedDict

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import read_json
from maskmill.canonical.schema import STRICT, CategoryRow, Text, require_schema

Count = Annotated[int, Field(ge=0)]
Message = Annotated[str, Field(max_length=100_000)]  # a bound also refuses lone surrogates
Lengths = Annotated[list[Count], Field(min_length=1)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Fraction = Annotated[float, Field(ge=0, le=1)]
Channels = Annotated[list[FiniteFloat], Field(min_length=3, max_length=3)]


@with_config(STRICT)
class SplitRow(TypedDict):
    """A split."""

    num_images: Count


@with_config(STRICT)
class ClassStatistics(TypedDict):
    """How often a class occurs; `weight` is null where it does not."""

    name: Text
    pixels: Count
    images: Count
    segments: Count
    small: Count
    medium: Count
    large: Count
    weight: FiniteFloat | None


@with_config(STRICT)
class SplitStatistics(TypedDict):
    """Sizes, colours and classes of a split."""

    pixels: Annotated[int, Field(ge=1)]
    void_pixels: Count
    height: Lengths
    width: Lengths
    rgb_mean: Channels
    rgb_std: Channels
    classes: list[ClassStatistics]


@with_config(STRICT)
class ProblemRow(TypedDict):
    """An image that was left out."""

    split: Message
    message: Message


@with_config(STRICT)
class FindingRow(TypedDict):
    """A fault of the data."""

    severity: Message
    file: Message
    what: Message
    fix: Message


@with_config(STRICT)
class DatasetDescription(TypedDict):
    """dataset.json; readers say themselves which of its keys they need."""

    categories: NotRequired[list[CategoryRow]]
    splits: NotRequired[dict[str, SplitRow]]
    statistics: NotRequired[dict[str, SplitStatistics]]
    problems: NotRequired[list[ProblemRow]]
    findings: NotRequired[list[FindingRow]]
    digest: NotRequired[Text]


@with_config(STRICT)
class CalibrationGap(TypedDict):
    """The calibration error of pixels or segments on validation images, see `evaluation`."""

    count: Count
    ece_before: Fraction
    ece_after: Fraction


@with_config(STRICT)
class ThresholdSummary(TypedDict):
    """Thresholds fitted to validation images, see `assembly.threshold_fit`."""

    values: dict[str, FiniteFloat]
    metric: Text
    num_images: Count
    before: Fraction
    after: Fraction


@with_config(STRICT)
class CalibrationSummary(TypedDict):
    """What calibration changed on the validation images.

    `thresholds` is None if there was nothing to fit.
    """

    num_images: Count
    pixels: NotRequired[CalibrationGap]
    segments: NotRequired[CalibrationGap]
    thresholds: NotRequired[ThresholdSummary | None]


@with_config(STRICT)
class ScoreCalibration(TypedDict):
    """How the scores of the predicted segments were calibrated, see `postprocess.calibration`."""

    slope: Annotated[float, Gt(0), Le(1000)]
    offset: Annotated[float, Ge(-1000), Le(1000)]


@with_config(STRICT)
class PredictionOrigin(TypedDict):
    """prediction.json; predictions of other tools have none, or one without these keys.

    `model` is the fingerprint of the model, `images` the sha256 of each image file by its name,
    `settings` are the inference and the changes of the post-processing.
    """

    model: NotRequired[Text | None]
    images: NotRequired[dict[str, Digest]]
    settings: NotRequired[dict[str, Any]]
    calibration: NotRequired[CalibrationSummary]
    score_calibration: NotRequired[ScoreCalibration]


@with_config(STRICT)
class EvidenceFile(TypedDict):
    """evidence.json: what an evaluation is of; see `evaluation.evidence.Evidence`."""

    model: Digest
    prediction: Digest
    labels: Digest
    images: dict[str, Digest]
    other_images: list[str]
    settings: dict[str, Any]
    files: dict[str, Digest]


DATASET = pydantic.TypeAdapter(DatasetDescription)
PREDICTION = pydantic.TypeAdapter(PredictionOrigin)
EVIDENCE = pydantic.TypeAdapter(EvidenceFile)


def read_dataset_file(path: Path, *, required: Iterable[str] = ()) -> dict[str, Any]:
    """The content of dataset.json.

    Args:
        path: the file.
        required: the keys that the caller reads.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not JSON, a value has another type, a key is missing, or the
            category table is not valid.
    """
    return checked_dataset(read_json(path), path, required=required)


def checked_dataset(content: Any, where: object, *, required: Iterable[str]) -> dict[str, Any]:
    """The content of dataset.json, if it has the form of this version.

    Args:
        content: what the file contains.
        where: the file, for messages.
        required: the keys that the caller reads.

    Raises:
        ValueError: a value has another type, a key is missing, or the category table is not valid.
    """
    require_schema(DATASET, content, where)
    missing = sorted(set(required) - content.keys())
    if missing:
        raise ValueError(
            f"{where}: expected the description of a data set of this version, but it lacks "
            f"{missing} - prepare the data again"
        )
    if "categories" in content:
        Categories.from_list(content["categories"], where)
    return dict(content)


def read_prediction_file(path: Path) -> dict[str, Any]:
    """The content of prediction.json.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not JSON, or a value has another type.
    """
    content: dict[str, Any] = read_json(path)
    require_schema(PREDICTION, content, path)
    return content


def read_evidence_file(path: Path) -> dict[str, Any]:
    """The content of evidence.json.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not JSON, a value has another type, or a key is missing.
    """
    content: dict[str, Any] = read_json(path)
    require_schema(EVIDENCE, content, path)
    return content
