"""What an evaluation is of, as digests: whoever uses its scores can check that they apply."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from maskmill.canonical.dataset_file import read_evidence_file, read_prediction_file
from maskmill.canonical.files import file_digest, inside, write_json
from maskmill.canonical.folder import PanopticFolder, png_name
from maskmill.evaluation.folders import find_class_masks

EVIDENCE = "evidence.json"
SCORES = ("metrics.json", "counts.csv")  # the files that a registration reads
OF_PREDICTION = ("inference", "postprocess")  # the settings of `predict`; all others are of scoring
NUM_KEY_DIGITS = 16


@dataclass(frozen=True)
class SplitDigests:
    """The content of a split.

    Args:
        labels: of its category table, its segments and their PNGs.
        images: file name -> sha256 of the image file, of those that exist.
    """

    labels: str
    images: dict[str, str]

    def difference(self, other: "SplitDigests") -> str | None:
        """How another split differs, in words; None if it has the same images and labels."""
        names = sorted(self.images.keys() | other.images.keys())
        differ = [name for name in names if self.images.get(name) != other.images.get(name)]
        if differ:
            return f"{len(differ)} of {len(names)} images differ, first {differ[0]}"
        return None if self.labels == other.labels else "the images are the same, the labels differ"


@dataclass(frozen=True)
class Evidence:
    """What an evaluation is of; the same bytes from any clone.

    Args:
        model: fingerprint of the predicting model.
        prediction: digest of the predicted files.
        labels: of the ground truth, see `SplitDigests`.
        images: of the images, see `SplitDigests`.
        other_images: names of images that differ from those that were predicted.
        settings: of the prediction and of the evaluation, which decide whether scores can be
            compared.
        files: name -> sha256 of the files with the scores.
    """

    model: str
    prediction: str
    labels: str
    images: dict[str, str]
    other_images: list[str]
    settings: dict[str, Any]
    files: dict[str, str]

    @property
    def split(self) -> SplitDigests:
        """The content of the split that was evaluated."""
        return SplitDigests(self.labels, self.images)

    @property
    def key(self) -> str:
        """Names the evaluation of a model: equal for the same split and the same settings."""
        return comparison_key(self.split, self.settings)

    @property
    def test(self) -> str:
        """Two models with the same test can be compared, each predicting in its own way."""
        scoring = {
            name: value for name, value in self.settings.items() if name not in OF_PREDICTION
        }
        return comparison_key(self.split, scoring)

    def key_with(self, prediction: Mapping[str, Any]) -> str:
        """The key of the same evaluation of a model with other settings of the prediction."""
        return comparison_key(self.split, {**self.settings, **prediction})

    @property
    def digest(self) -> str:
        """The sha256 of everything here."""
        return _digest(asdict(self))


def comparison_key(split: SplitDigests, settings: Mapping[str, Any]) -> str:
    """What evaluations on the same split with the same settings have in common: 16 digits."""
    return _digest([asdict(split), dict(settings)])[:NUM_KEY_DIGITS]


def collect_evidence(
    target: PanopticFolder, prediction: Path, images: Path, settings: Mapping[str, Any]
) -> Evidence | None:
    """What an evaluation of these folders is of; None for predictions of other tools.

    Args:
        target: ground truth.
        prediction: folder of the predictions.
        images: folder of the images.
        settings: of the evaluation.

    Raises:
        ValueError: prediction.json has another form.
    """
    path = prediction / "prediction.json"
    origin = read_prediction_file(path) if path.is_file() else {}
    if origin.get("model") is None or "images" not in origin:
        return None
    split = digest_split(target, images)
    predicted = origin["images"]
    differ = [name for name, digest in split.images.items() if predicted.get(name) != digest]
    return Evidence(
        model=origin["model"],
        prediction=digest_prediction(prediction, target),
        labels=split.labels,
        images=split.images,
        other_images=differ,
        settings={**origin.get("settings", {}), **settings},
        files={},
    )


def digest_split(split: PanopticFolder, images: Path | None = None) -> SplitDigests:
    """The digests of the labels and images of a split.

    Args:
        split: the split.
        images: folder of its images; None: its own.
    """
    folder = images or split.image_folder
    image_digests = {}
    for record in split.records:
        path = inside(folder, record.file_name)
        if path.is_file():
            image_digests[record.file_name] = file_digest(path)
    return SplitDigests(_digest(_labels(split, split)), image_digests)


def digest_prediction(prediction: Path, target: PanopticFolder) -> str:
    """The digest of the predicted files of the images of a split."""
    folder = PanopticFolder(prediction)
    content = _labels(folder, target)
    masks = find_class_masks(prediction)
    if masks is not None:
        for record in target.records:
            content.append(file_digest(inside(masks, png_name(record))))
    instances = prediction / "instances.json"
    if instances.is_file():
        content.append(file_digest(instances))
    return _digest(content)


def write_evidence(folder: Path, evidence: Evidence) -> Path:
    """Write evidence.json beside the scores that it vouches for."""
    files = {name: file_digest(folder / name) for name in SCORES}
    return write_json(folder / EVIDENCE, asdict(replace(evidence, files=files)))


def read_evidence(folder: Path) -> Evidence:
    """What the evaluation in a folder is of.

    Raises:
        FileNotFoundError: the folder has no evidence.json.
        ValueError: it has another form, or a file with scores was changed afterwards.
    """
    path = folder / EVIDENCE
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected the evidence of an evaluation, but there is none: the prediction is "
            "of another tool or of an earlier version, or the scores are of several data sets - "
            "run `maskmill predict` and `maskmill evaluate` again"
        )
    evidence = Evidence(**read_evidence_file(path))
    for name in SCORES:
        if file_digest(folder / name) != evidence.files.get(name):
            raise ValueError(
                f"{folder / name}: expected the scores that {EVIDENCE} describes, but the file was "
                "changed - run `maskmill evaluate` again"
            )
    return evidence


def require_evidence(folder: Path, *, model: str, split: PanopticFolder) -> Evidence:
    """The evidence of an evaluation, if it is of this model on this split.

    Args:
        folder: what `evaluate` wrote.
        model: fingerprint of the model.
        split: ground truth and images.

    Raises:
        FileNotFoundError: the folder has no evidence.
        ValueError: the evaluation is of another model, of a prediction of other images, or of
            another split.
    """
    evidence = read_evidence(folder)
    path = folder / EVIDENCE
    if evidence.model != model:
        raise ValueError(
            f"{path}: expected an evaluation of model {model[:12]}, but it is of model "
            f"{evidence.model[:12]} - run `maskmill predict` and `maskmill evaluate` for this model"
        )
    if evidence.other_images:
        raise ValueError(
            f"{path}: expected a prediction of the images that were evaluated, but "
            f"{len(evidence.other_images)} of {len(evidence.images)} were predicted from other "
            f"files, first {evidence.other_images[0]} - run `maskmill predict` on these images, "
            "then `maskmill evaluate`"
        )
    difference = digest_split(split).difference(evidence.split)
    if difference is not None:
        raise ValueError(
            f"{path}: expected an evaluation on {split.json_path.parent}, but it is on another "
            f"split: {difference} - either run `maskmill predict` and `maskmill evaluate` on this "
            "split, or correct `register.images`"
        )
    return evidence


def _labels(folder: PanopticFolder, target: PanopticFolder) -> list[Any]:
    """What decides the labels of the images of a split: tables, segments and digests of PNGs."""
    content: list[Any] = [folder.categories.as_list()]
    for record in target.records:
        png = file_digest(folder.png_path(record.id))
        content.append([asdict(record), folder.annotation(record.id)["segments_info"], png])
    return content


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
