"""Several models to one model folder, which predicts by the mean of their outputs."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskmill.assembly.targets import ENSEMBLE
from maskmill.canonical.output_folder import replaced_folder
from maskmill.postprocess.mask_classification import PanopticMasks, SemanticMasks
from maskmill.serving.model_files import ModelFiles, read_model, write_model

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class EnsembleSettings:
    """Input and output of `maskmill ensemble`.

    Args:
        models: two or more folders that `train` wrote, or models:/NAME@ALIAS of the registry.
        out: folder for the model.

    Raises:
        ValueError: there are fewer than two models.
    """

    models: list[str]
    out: Path

    def __post_init__(self) -> None:
        if len(self.models) < 2:
            raise ValueError(
                f"Expected two or more models in `ensemble.models`, but got {self.models} - "
                "list their folders, as ensemble.models=[A,B]"
            )


def write_ensemble(members: Sequence[ModelFiles], out: Path) -> ModelFiles:
    """Write the folder of a model that predicts as several.

    The class table is that of all members, and the rest of the configuration that of the first:
    post-processing and inference too. It has no calibration, since each calibration was fitted to
    one network.

    Args:
        members: two or more models.
        out: folder for the model; replaced if `ensemble` wrote it.

    Raises:
        ValueError: the models have other classes or another post-processing than the first, or
            their outputs are masks of queries, which have no common order; or `out` has files of
            somebody else.
    """
    first = members[0]
    if isinstance(first.postprocess(), PanopticMasks | SemanticMasks):
        raise ValueError(
            f"{first.description}: expected outputs for each pixel, whose mean over models is "
            "defined, but the queries of mask classification are in no common order - "
            "choose models of another network"
        )
    for member in members[1:]:
        _require_equal(member, first)
    with replaced_folder(
        out, written_by="ensemble", inputs=[member.folder for member in members]
    ) as folder:
        write_model(
            folder,
            _weights(members),
            _config(members),
            first.categories,
            _data_digest(members),
            members=[member.fingerprint for member in members],
        )
    return read_model(out)


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
    kinds = [files.config["task"]["postprocess"]["_target_"] for files in (first, member)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"{member.description}: expected post-processing by {kinds[0]}, as of "
            f"{first.description}, but got {kinds[1]} - choose models of one task"
        )


def _names(files: ModelFiles) -> str:
    return ", ".join(category.name for category in files.categories)
