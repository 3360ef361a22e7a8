"""A trained model on disk: model.safetensors + model.json, the same bytes from any clone."""

import hashlib
import importlib
import inspect
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pydantic
import safetensors.torch
from torch import Tensor

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import read_json, write_bytes, write_json
from maskmill.postprocess.prediction import Postprocess

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
NEW_WEIGHTS = f".{WEIGHTS}.new"
NEW_DESCRIPTION = f".{DESCRIPTION}.new"
NO_CHANGES: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class ModelFiles:
    """The description of a model; its weights are read on request.

    Args:
        folder: the folder with its files.
        config: resolved configuration of the train stage.
        categories: its classes.
        data_digest: digest of the data set that it was trained on.
        fingerprint: sha256 of weights and description, which identifies the model in MLflow.
    """

    folder: Path
    config: dict[str, Any]
    categories: Categories
    data_digest: str
    fingerprint: str

    def weights(self) -> dict[str, Tensor]:
        """The state dict of the network, on the CPU."""
        return safetensors.torch.load_file(self.folder / WEIGHTS)

    def weights_digest(self) -> str:
        """sha256 of the weights alone, equal for any number of loader processes."""
        return hashlib.sha256((self.folder / WEIGHTS).read_bytes()).hexdigest()

    def postprocess(self, changes: Mapping[str, Any] = NO_CHANGES) -> Postprocess:
        """The object that converts network outputs to segments.

        Args:
            changes: values that replace those the model was trained with.

        Raises:
            ValueError: see `make_postprocess`.
        """
        node = {**self.config["task"]["postprocess"], **changes}
        return make_postprocess(node, self.categories)


def write_model(
    folder: Path,
    weights: Mapping[str, Tensor],
    config: Mapping[str, Any],
    categories: Categories,
    data_digest: str,
) -> ModelFiles:
    """Write a model's two files, which replace those of an earlier model together.

    A killed process leaves the old model, the new one, or none, but never files of both.

    Args:
        folder: the folder to write to.
        weights: the state dict of the network.
        config: resolved; contains `network` and `task.postprocess`, and no path of this machine.
        categories: its classes.
        data_digest: digest of the data set that it was trained on.

    Returns:
        the same as `read_model(folder)`.
    """
    tensors = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
    new_weights = write_bytes(folder / NEW_WEIGHTS, safetensors.torch.save(tensors))
    description = {
        "config": config,
        "categories": categories.as_list(),
        "data_digest": data_digest,
    }
    new_description = write_json(folder / NEW_DESCRIPTION, description)
    _replace_model(folder, new_weights, new_description)
    return read_model(folder)


def copy_model(files: ModelFiles, folder: Path) -> None:
    """Copy a model's two files to another folder."""
    new_weights = write_bytes(folder / NEW_WEIGHTS, (files.folder / WEIGHTS).read_bytes())
    description = (files.folder / DESCRIPTION).read_bytes()
    new_description = write_bytes(folder / NEW_DESCRIPTION, description)
    _replace_model(folder, new_weights, new_description)


def _replace_model(folder: Path, new_weights: Path, new_description: Path) -> None:
    """Put both new files in place; a process killed here leaves no model rather than a mixture."""
    (folder / DESCRIPTION).unlink(missing_ok=True)
    new_weights.replace(folder / WEIGHTS)
    new_description.replace(folder / DESCRIPTION)


def read_model(folder: Path) -> ModelFiles:
    """Read a model's description.

    Raises:
        FileNotFoundError: the folder contains no model.
        ValueError: the description is broken.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder}: expected a model ({DESCRIPTION} and {WEIGHTS}), but there is none - "
            "run `maskmill train` first"
        )
    description = read_json(path)
    try:
        categories = Categories.from_list(description["categories"])
        config = description["config"]
        data_digest = description["data_digest"]
        # A registered copy contains an exported program instead of the weights.
        fingerprint = description.get("fingerprint") or _fingerprint(folder)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: expected the description of a model, but it is incomplete ({error!r}) - "
            "train the model again"
        ) from error
    return ModelFiles(folder, config, categories, data_digest, fingerprint)


def _fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in (WEIGHTS, DESCRIPTION):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def describe(files: ModelFiles) -> dict[str, Any]:
    """The description of a registered copy: the model's own, with its fingerprint."""
    description: dict[str, Any] = read_json(files.folder / DESCRIPTION)
    return description | {"fingerprint": files.fingerprint}


def make_postprocess(node: Mapping[str, Any], categories: Categories) -> Postprocess:
    """Construct a postprocess object from its configuration without Hydra, which production lacks.

    Raises:
        ValueError: the target is not a class defined in `maskmill.postprocess`, since a model file
            must not be able to name other code, or it has no such argument, or a value is out of
            the bounds of its annotation.
    """
    target = _postprocess_class(str(node["_target_"]))
    arguments = {key: value for key, value in node.items() if not key.startswith("_")}
    expected = inspect.signature(target).parameters.keys()
    unknown = sorted(arguments.keys() - expected)
    if unknown:
        raise ValueError(
            f"Expected arguments of {target.__name__} ({', '.join(expected)}), but got {unknown} - "
            "correct predict.postprocess"
        )
    _check_bounds(target, arguments)
    postprocess: Postprocess = target(categories=categories, **arguments)
    return postprocess


def _check_bounds(target: type, arguments: Mapping[str, Any]) -> None:
    """Check each value against the annotation of the constructor, as `build` does with Hydra."""
    annotations = typing.get_type_hints(target.__init__, include_extras=True)  # type: ignore[misc]
    for key, value in arguments.items():
        try:
            pydantic.TypeAdapter(annotations[key]).validate_python(value, strict=True)
        except pydantic.ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise ValueError(
                f"predict.postprocess.{key}: got {value!r}: {reason} - set another value"
            ) from error


def _postprocess_class(name: str) -> type:
    module_name, _, class_name = name.rpartition(".")
    target = None
    if module_name.startswith("maskmill.postprocess."):
        try:
            target = getattr(importlib.import_module(module_name), class_name, None)
        except ModuleNotFoundError:
            target = None
    # A module also contains what it imports, as `torch` or `Path`: only its own classes count.
    if not inspect.isclass(target) or target.__module__ != module_name:
        raise ValueError(
            f"Expected a class of maskmill.postprocess, but got {name!r} - train the model again"
        )
    return target
