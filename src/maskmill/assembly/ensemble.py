"""Combines several models into one model folder, which averages their outputs."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskmill.assembly.registry_settings import REGISTRY
from maskmill.assembly.targets import ENSEMBLE, MAX_NETWORKS
from maskmill.canonical.output_folder import replaced_folder
from maskmill.postprocess.mask_classification import PanopticMasks, SemanticMasks
from maskmill.serving.model_files import WEIGHTS, ModelFiles, read_model, write_model

if TYPE_CHECKING:
    from torch import Tensor


SIDE = 96  # px of the images on which outputs are compared


@dataclass(frozen=True)
class EnsembleSettings:
    """Input and output of `maskmill ensemble`.

    Args:
        models: folders that `train` wrote, 2 to `MAX_NETWORKS`.
        out: folder for the model.

    Raises:
        ValueError: there are fewer models or more, or a version of the registry is among them.
    """

    models: list[str]
    out: Path

    def __post_init__(self) -> None:
        if not 2 <= len(self.models) <= MAX_NETWORKS:
            raise ValueError(
                f"Expected 2 to {MAX_NETWORKS} models in `ensemble.models`, but got "
                f"{len(self.models)} - list their folders, as ensemble.models=[A,B]"
            )
        for model in self.models:
            if model.startswith(REGISTRY):
                raise ValueError(
                    f"Expected folders that `maskmill train` wrote in `ensemble.models`, but got "
                    f"{model}: a registered version has an exported program in place of its "
                    "weights - give the folder of its training"
                )


def write_ensemble(members: Sequence[ModelFiles], out: Path) -> ModelFiles:
    """Write the folder of a model that averages the outputs of several.

    The class table is that of all members. The rest of the configuration, post-processing and
    inference included, is that of the first. It has no calibration, since each calibration was
    fitted to one network.

    Args:
        members: two or more models.
        out: folder for the model; replaced if `ensemble` wrote it.

    Raises:
        FileNotFoundError: a model has no weights.
        ValueError: see `require_same_kind`; or the networks have different outputs, or `out` has
            files of somebody else.
    """
    from maskmill.assembly.network_loading import load_network  # torch: not for a wrong setting

    require_same_kind(members)
    _require_same_outputs(members)
    inputs = [member.folder for member in members]
    with replaced_folder(out, written_by="ensemble", inputs=inputs) as folder:
        written = write_model(
            folder,
            _weights(members),
            _config(members),
            members[0].categories,
            _data_digest(members),
            members=[member.fingerprint for member in members],
        )
        load_network(written)  # refuses networks that cannot be part of an ensemble
    return read_model(out)


def require_same_kind(members: Sequence[ModelFiles]) -> None:
    """Refuse models whose outputs have no mean; no network is built.

    Raises:
        FileNotFoundError: a model has no weights.
        ValueError: the models differ in their classes, their task or their post-processing, their
            outputs are masks of queries, or one is an ensemble already.
    """
    first = members[0]
    for member in members:
        if not (member.folder / WEIGHTS).is_file():
            raise FileNotFoundError(
                f"{member.folder}: expected a folder that `maskmill train` wrote, but it has no "
                f"{WEIGHTS} - give the folder of the training"
            )
        if member.members:
            raise ValueError(
                f"{member.description}: expected a single model, but got an ensemble of "
                f"{len(member.members)} - list its models instead"
            )
    if isinstance(first.postprocess(), PanopticMasks | SemanticMasks):
        raise ValueError(
            f"{first.description}: expected outputs for each pixel, whose mean over models is "
            "defined, but the queries of mask classification are in no common order - "
            "choose models of another network"
        )
    for member in members[1:]:
        _require_equal(member, first)


def _require_same_outputs(members: Sequence[ModelFiles]) -> None:
    first = members[0]
    expected = _outputs(first)
    for member in members[1:]:
        found = _outputs(member)
        if found != expected:
            raise ValueError(
                f"{member.description}: expected a network with the outputs of "
                f"{first.description}, {expected}, but got {found} - choose models of one kind of "
                "network"
            )


def _outputs(member: ModelFiles) -> dict[str, tuple[int, ...]]:
    """Name and shape of each output of the network, and of the images that it takes."""
    import torch

    from maskmill.assembly.network_loading import load_network

    network = load_network(member)
    encoder = member.config["network"].get("encoder")
    num_channels = encoder.get("in_channels", 3) if isinstance(encoder, dict) else 3
    images = torch.zeros(1, num_channels, SIDE, SIDE, dtype=torch.uint8)
    with torch.inference_mode():
        outputs = network(images)
    shapes = {name: tuple(value.shape) for name, value in outputs.items()}
    return {"images": tuple(images.shape)} | shapes


def _weights(members: Sequence[ModelFiles]) -> "dict[str, Tensor]":
    weights = {}
    for index, member in enumerate(members):
        for name, value in member.weights().items():
            weights[f"networks.{index}.{name}"] = value
    return weights


def _config(members: Sequence[ModelFiles]) -> dict[str, Any]:
    first = members[0]
    networks = [{**member.config["network"], "_partial_": True} for member in members]
    task = first.config["task"]
    postprocess = {**task["postprocess"], "calibration": None}
    return {
        **first.config,
        "network": {"_target_": ENSEMBLE, "networks": networks},
        "task": {**task, "postprocess": postprocess},
    }


def _data_digest(members: Sequence[ModelFiles]) -> str:
    """That of the data set; where the models were trained on several, a digest of theirs."""
    digests = list(dict.fromkeys(member.data_digest for member in members))
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


def _require_equal(member: ModelFiles, first: ModelFiles) -> None:
    if member.categories != first.categories:
        raise ValueError(
            f"{member.description}: expected the classes of {first.description}, but got "
            f"{_names(member)} in place of {_names(first)} - choose models of the same data set"
        )
    expected, found = _task(first), _task(member)
    if found != expected:
        raise ValueError(
            f"{member.description}: expected {expected}, as of {first.description}, but got "
            f"{found} - choose models of one task"
        )


def _task(files: ModelFiles) -> str:
    """The classes of the task, where it is known, and of its post-processing."""
    task = files.config["task"]
    names = [task.get("_target_", ""), task["postprocess"]["_target_"]]
    return " with ".join(name.rpartition(".")[2] for name in names if name)


def _names(files: ModelFiles) -> str:
    return ", ".join(category.name for category in files.categories)
