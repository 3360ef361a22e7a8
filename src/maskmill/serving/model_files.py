"""A trained model on disk: model.safetensors + model.json, the same bytes from any clone."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import file_digest, read_json, write_bytes, write_json
from maskmill.postprocess.prediction import Postprocess
from maskmill.serving.construction import check_targets, construct
from maskmill.serving.description import PostprocessTargets, check_description
from maskmill.serving.prediction_settings import PredictionSettings

if TYPE_CHECKING:
    from torch import Tensor  # production has none

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
PROGRAM = "program.pt2"  # of torch.export, see serving/program.py
REFERENCE = "reference.json"  # see evaluation/reference.py
DIGESTS = "digests"  # of a registered copy's files, in its description
NEW_WEIGHTS = f".{WEIGHTS}.new"
NEW_DESCRIPTION = f".{DESCRIPTION}.new"
NO_CHANGES: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class ModelFiles:
    """The description of a model; its weights are read on request.

    Args:
        description: the file that describes it; the weights are beside it.
        config: resolved configuration of the train stage.
        categories: its classes.
        data_digest: digest of the data set that it was trained on.
        fingerprint: sha256 of weights and description, which identifies the model in MLflow.
        calibration: the calibration error on validation images before and after calibration, see
            `CalibrationSummary`; None without calibration.
        reference: sha256 of reference.json; None without it.
        members: fingerprints of the models of an ensemble; empty for a model that was trained.
        prediction: how a registered version predicts; the default for a model that was trained.
    """

    description: Path
    config: dict[str, Any]
    categories: Categories
    data_digest: str
    fingerprint: str
    calibration: Mapping[str, Any] | None = None
    reference: str | None = None
    members: tuple[str, ...] = ()
    prediction: PredictionSettings = field(default_factory=PredictionSettings)

    @property
    def folder(self) -> Path:
        """The folder with its files."""
        return self.description.parent

    @property
    def identity(self) -> str:
        """What answers alike: the fingerprint, and for a version how it predicts."""
        if self.prediction.is_default:
            return self.fingerprint
        content = f"{self.fingerprint}{self.prediction.text()}"
        return hashlib.sha256(content.encode()).hexdigest()

    def weights(self) -> "dict[str, Tensor]":
        """The state dict of the network, on the CPU.

        Raises:
            ValueError: the file is damaged.
        """
        import safetensors.torch

        path = self.folder / WEIGHTS
        try:
            return safetensors.torch.load_file(path)
        except (safetensors.SafetensorError, RuntimeError, KeyError) as error:
            raise ValueError(
                f"{path}: expected weights in the safetensors format, but got: {error} - "
                "either copy the file again or train the model again"
            ) from error

    def weights_digest(self) -> str:
        """sha256 of the weights alone, equal for any number of loader processes."""
        return hashlib.sha256((self.folder / WEIGHTS).read_bytes()).hexdigest()

    def postprocess(self, changes: Mapping[str, Any] = NO_CHANGES) -> Postprocess:
        """The object that converts network outputs to segments.

        Args:
            changes: values that replace those the model was trained with, or was tested with.

        Raises:
            ValueError: see `make_postprocess`.
        """
        node = dict(self.config["task"]["postprocess"])
        where = f"{self.description}: config.task.postprocess"
        postprocess = make_postprocess(node, self.categories, where)
        tested = (f"{self.description}: prediction.postprocess", self.prediction.postprocess)
        for name, values in (tested, ("predict.postprocess", changes)):
            if values:  # each on its own, so that an error names where the value stands
                node |= values
                postprocess = make_postprocess(node, self.categories, name)
        return postprocess


def write_model(
    folder: Path,
    weights: "Mapping[str, Tensor]",
    config: Mapping[str, Any],
    categories: Categories,
    data_digest: str,
    *,
    calibration: Mapping[str, Any] | None = None,
    reference: bytes | None = None,
    members: Sequence[str] = (),
) -> ModelFiles:
    """Write a model's two files, which replace those of an earlier model together.

    A process killed at any moment leaves the old model or the new one, see `read_model`.

    Args:
        folder: the folder to write to.
        weights: the state dict of the network.
        config: resolved; contains `network` and `task.postprocess`, and no path of this machine.
        categories: its classes.
        data_digest: digest of the data set that it was trained on.
        calibration: see `ModelFiles`.
        reference: content of reference.json, for `maskmill monitor`.
        members: fingerprints of the models of an ensemble.

    Returns:
        the same as `read_model(folder)`.
    """
    import safetensors.torch

    tensors = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
    data = safetensors.torch.save(tensors)
    new_weights = write_bytes(folder / NEW_WEIGHTS, data)
    description: dict[str, Any] = {
        "config": config,
        "categories": categories.as_list(),
        "data_digest": data_digest,
    }
    if calibration is not None:
        description["calibration"] = calibration
    if reference is not None:
        write_bytes(folder / REFERENCE, reference)
        description["reference"] = hashlib.sha256(reference).hexdigest()
    if members:
        description["members"] = list(members)
    description["weights"] = hashlib.sha256(data).hexdigest()
    new_description = write_json(folder / NEW_DESCRIPTION, description)
    _replace_model(folder, new_weights, new_description)
    return read_model(folder)


def copy_model(files: ModelFiles, folder: Path) -> None:
    """Copy a model's files to another folder."""
    if files.reference is not None:
        write_bytes(folder / REFERENCE, (files.folder / REFERENCE).read_bytes())
    new_weights = write_bytes(folder / NEW_WEIGHTS, (files.folder / WEIGHTS).read_bytes())
    new_description = write_bytes(folder / NEW_DESCRIPTION, files.description.read_bytes())
    _replace_model(folder, new_weights, new_description)


def _replace_model(folder: Path, new_weights: Path, new_description: Path) -> None:
    """Put both new files in place; between the two, the new description has its temporary name."""
    new_weights.replace(folder / WEIGHTS)
    new_description.replace(folder / DESCRIPTION)


def read_model(folder: Path) -> ModelFiles:
    """Read the description that belongs to a model's weights.

    The description contains the digest of its weights. If a process was killed between replacing
    the weights and replacing the description, the new description is read under its temporary name.

    Raises:
        FileNotFoundError: the folder contains no model.
        ValueError: the description is broken or names code that a model must not name, the weights
            are not those that it describes, or a file of a registered copy has been damaged.
    """
    paths = [path for path in (folder / DESCRIPTION, folder / NEW_DESCRIPTION) if path.is_file()]
    has_weights = (folder / WEIGHTS).is_file()
    is_registered = bool(paths) and _read_description(paths[0]).get("fingerprint") is not None
    if not paths or not (has_weights or is_registered):
        raise FileNotFoundError(
            f"{folder}: expected a model ({DESCRIPTION} and {WEIGHTS}), but there is none - "
            "run `maskmill train` first"
        )
    if not has_weights:  # a registered copy contains an exported program instead
        description = _read_description(paths[0])
        _require_undamaged(paths[0], description)
        return _described(paths[0], description, description["fingerprint"])
    content = hashlib.sha256((folder / WEIGHTS).read_bytes())
    for path in paths:
        description = _read_description(path)
        if description.get("weights", content.hexdigest()) == content.hexdigest():
            content.update(path.read_bytes())
            return _described(path, description, content.hexdigest())
    raise ValueError(
        f"{folder / WEIGHTS}: expected the weights that {DESCRIPTION} describes, but they have "
        "another digest: one of the two files is damaged or belongs to another model - either "
        "copy both again or train the model again"
    )


def _read_description(path: Path) -> dict[str, Any]:
    description = check_description(read_json(path), path)
    node = description["config"]["task"]["postprocess"]
    check_targets(node, f"{path}: config.task.postprocess", PostprocessTargets())
    if "prediction" in description:
        PredictionSettings.of(description["prediction"]).check(f"{path}: prediction")
    return description


def _described(path: Path, description: Mapping[str, Any], fingerprint: str) -> ModelFiles:
    try:
        categories = Categories.from_list(description["categories"])
    except ValueError as error:
        raise ValueError(f"{path}: {error} - train the model again") from error
    return ModelFiles(
        path,
        description["config"],
        categories,
        description["data_digest"],
        fingerprint,
        description.get("calibration"),
        description.get("reference"),
        tuple(description.get("members", ())),
        PredictionSettings.of(description.get("prediction", {})),
    )


def describe(files: ModelFiles, folder: Path) -> dict[str, Any]:
    """The description of a registered copy: the model's own, with its fingerprint and digests.

    Args:
        files: the model, with the settings by which the copy predicts.
        folder: of the copy, with all its other files; each gets a digest, as the description does.
    """
    description: dict[str, Any] = read_json(files.description) | {"fingerprint": files.fingerprint}
    description.pop(DIGESTS, None)
    if not files.prediction.is_default:
        description["prediction"] = files.prediction.as_dict()
    paths = sorted(path for path in folder.iterdir() if path.is_file() and path.name != DESCRIPTION)
    digests = {path.name: file_digest(path) for path in paths}
    digests[DESCRIPTION] = _own_digest(description)
    return description | {DIGESTS: digests}


def _own_digest(description: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in description.items() if key != DIGESTS}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _require_undamaged(path: Path, description: Mapping[str, Any]) -> None:
    """Compare the files of a registered copy with their digests; a file may be absent."""
    for name, digest in description.get(DIGESTS, {}).items():
        file = path.with_name(name)
        if not file.is_file():  # a graph or a program that this machine does not need
            continue
        found = _own_digest(description) if name == DESCRIPTION else file_digest(file)
        if found != digest:
            raise ValueError(
                f"{file}: expected the file that was registered (sha256 {digest[:12]}), but it is "
                f"damaged (sha256 {found[:12]}) - either restore it from a backup of the artifacts,"
                " or delete this version of the model and run `maskmill register` again"
            )


def make_postprocess(node: Mapping[str, Any], categories: Categories, name: str) -> Postprocess:
    """Construct a postprocess object from its node without Hydra, which production lacks.

    Args:
        node: with `_target_` and arguments.
        categories: the classes of the model.
        name: of the node, for messages.

    Raises:
        ValueError: the target is not a class defined in `maskmill.postprocess`, since a model file
            must not be able to name other code, or it has no such argument, or a value is out of
            the bounds of its annotation.
    """
    postprocess: Postprocess = construct(node, name, PostprocessTargets(), categories=categories)
    return postprocess
