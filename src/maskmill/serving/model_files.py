"""A trained model on disk: model.safetensors beside model.json, the same bytes from any clone."""

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

WEIGHTS, DESCRIPTION = "model.safetensors", "model.json"


@dataclass(frozen=True)
class ModelFiles:
    """What describes a model beside its weights.

    Args:
        folder: where its files are.
        config: resolved, of the train stage.
        categories: the classes it tells apart.
        data_digest: of the data set it learned from.
        fingerprint: sha256 over weights and description: the model's name in MLflow.
    """

    folder: Path
    config: dict[str, Any]
    categories: Categories
    data_digest: str
    fingerprint: str

    def weights(self) -> dict[str, Tensor]:
        """The network's state, on the CPU."""
        return safetensors.torch.load_file(self.folder / WEIGHTS)

    def weights_digest(self) -> str:
        """sha256 of the weights alone: equal for trainings that must end alike, whatever their number of loader processes."""
        return hashlib.sha256((self.folder / WEIGHTS).read_bytes()).hexdigest()

    def postprocess(self, changes: Mapping[str, Any] = MappingProxyType({})) -> Postprocess:
        """The object that turns the network's outputs into segments, with some values other than it was trained with."""
        return make_postprocess({**self.config["task"]["postprocess"], **changes}, self.categories)


def write_model(
    folder: Path,
    weights: Mapping[str, Tensor],
    config: Mapping[str, Any],
    categories: Categories,
    data_digest: str,
) -> ModelFiles:
    """Write a model's two files; the description, written last, makes it whole.

    Args:
        folder: where to.
        weights: the network's state.
        config: resolved; must hold `network` and `task.postprocess`, and no path of this machine.
        categories: the classes it tells apart.
        data_digest: of the data set it learned from.

    Returns:
        the model as `read_model` gives it.
    """
    write_bytes(
        folder / WEIGHTS,
        safetensors.torch.save(
            {key: value.detach().cpu().contiguous() for key, value in weights.items()}
        ),
    )
    write_json(
        folder / DESCRIPTION,
        {"config": config, "categories": categories.as_list(), "data_digest": data_digest},
    )
    return read_model(folder)


def copy_model(files: ModelFiles, folder: Path) -> None:
    """Write a model's two files to another folder as well."""
    for name in (WEIGHTS, DESCRIPTION):
        write_bytes(folder / name, (files.folder / name).read_bytes())


def read_model(folder: Path) -> ModelFiles:
    """Read a model's description.

    Raises:
        FileNotFoundError: there is no model in the folder.
        ValueError: the description is broken.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder}: expected a model ({DESCRIPTION} and {WEIGHTS}), but there is none - run `maskmill train` first"
        )
    description = read_json(path)
    try:
        categories = Categories.from_list(description["categories"])
        fingerprint = description.get("fingerprint") or _fingerprint(
            folder
        )  # a registered copy has a program in place of the weights
        return ModelFiles(
            folder, description["config"], categories, description["data_digest"], fingerprint
        )
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: expected the description of a model, but {error!r} is missing - train it again"
        ) from error


def _fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in (WEIGHTS, DESCRIPTION):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def describe(files: ModelFiles) -> dict[str, Any]:
    """The description a registered copy carries: the model's own, and the fingerprint it had with its weights."""
    own: dict[str, Any] = read_json(files.folder / DESCRIPTION)
    return own | {"fingerprint": files.fingerprint}


def make_postprocess(node: Mapping[str, Any], categories: Categories) -> Postprocess:
    """Construct a postprocess object from its configuration, without the configuration library: production has none.

    Raises:
        ValueError: the target lies outside `maskmill.postprocess`; a model file must not name arbitrary code. Or it has no such argument,
            or a value is out of the bounds of its annotation.
    """
    module, _, name = str(node["_target_"]).rpartition(".")
    if not module.startswith("maskmill.postprocess."):
        raise ValueError(
            f"Expected a class of maskmill.postprocess, but got {node['_target_']!r} - train the model again"
        )
    arguments = {key: value for key, value in node.items() if not key.startswith("_")}
    target = getattr(importlib.import_module(module), name)
    if unknown := arguments.keys() - inspect.signature(target).parameters.keys():
        raise ValueError(
            f"Expected arguments of {name}, {', '.join(inspect.signature(target).parameters)}, but got {sorted(unknown)} - "
            "mend predict.postprocess"
        )
    annotations = typing.get_type_hints(target.__init__, include_extras=True)
    for key, value in arguments.items():
        try:
            pydantic.TypeAdapter(annotations[key]).validate_python(value, strict=True)
        except pydantic.ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise ValueError(
                f"predict.postprocess.{key}: got {value!r}: {reason} - set another value"
            ) from error
    made: Postprocess = target(categories=categories, **arguments)
    return made
