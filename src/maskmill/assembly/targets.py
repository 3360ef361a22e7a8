"""Which code a `_target_` may name: an allow-list, decided before anything is imported."""

import difflib
import functools
import importlib
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, cast

import pydantic

from maskmill.assembly.code_digests import PACKAGE, is_public_class
from maskmill.assembly.conf_search_path import packaged_conf
from maskmill.canonical.yaml_file import read_yaml

# The list of a project: in its own conf/, so that no model, data set or params.yaml can add to it.
PROJECT_LIST = Path("conf/targets.yaml")
DOTTED_NAME = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"
ENSEMBLE = f"{PACKAGE}.networks.ensemble.Ensemble"  # of model folders, not of conf/
MAX_NETWORKS = 32  # of an ensemble: each takes its memory and its time
NAMED_IN_YAML = re.compile(r"^[^#\n]*\b_target_:\s*([\w.]+)", re.MULTILINE)

DottedName = Annotated[str, pydantic.Field(pattern=f"^{DOTTED_NAME}$")]


class ProjectTargets(pydantic.BaseModel, extra="forbid", defer_build=True):
    """The content of conf/targets.yaml: dotted names of modules, classes and functions.

    Args:
        configuration: what conf/, params.yaml and the command line may name.
        models: what the model.json of a model folder may name as well: networks of the project.
    """

    configuration: list[DottedName] = []
    models: list[DottedName] = []


class ConfigurationTargets:
    """What conf/, params.yaml and the command line may name.

    The public classes of this package, what its own conf/ names, and what the project lists under
    `configuration` in conf/targets.yaml.
    """

    def check(self, target: str) -> None:
        """Refuse a name that is not allowed; nothing is imported.

        Raises:
            ValueError: `target` is not allowed.
        """
        if target in packaged_targets() or is_public_class(target):
            return
        if _entry_of(target, read_project_targets().configuration) is None:
            raise ValueError(
                f"expected a class of {PACKAGE} or a constructor that its conf/ names, but got "
                f"{target!r} - {_advice(target, 'configuration')}"
            )

    def find(self, target: str) -> Callable[..., Any]:
        """The class or function of a name that passed `check`.

        Raises:
            ValueError: there is none of this name, or it comes from a module that is not allowed.
        """
        if target in packaged_targets() or is_public_class(target):
            return _locate(target)
        return _locate_own(target, read_project_targets().configuration)


class NetworkTargets:
    """What the network of a model.json may name.

    The constructors that conf/network and conf/encoder of this package name, an ensemble of them,
    and what the project lists under `models` in conf/targets.yaml.
    """

    def check(self, target: str) -> None:
        """Refuse a name that is not allowed; nothing is imported.

        Raises:
            ValueError: `target` is not allowed.
        """
        if target in _packaged_networks():
            return
        if _entry_of(target, read_project_targets().models) is None:
            raise ValueError(
                f"expected a network of {PACKAGE}, but got {target!r}, which a model file must not "
                f"name - {_advice(target, 'models')}"
            )

    def find(self, target: str) -> Callable[..., Any]:
        """The class or function of a name that passed `check`.

        Raises:
            ValueError: there is none of this name, or it comes from a module that is not allowed.
        """
        if target in _packaged_networks():
            return _locate(target)
        return _locate_own(target, read_project_targets().models)


@functools.cache
def packaged_targets(*groups: str) -> frozenset[str]:
    """Every `_target_` in this package's own conf/; of some groups, or of all."""
    paths = [*packaged_conf().glob("*/*.yaml"), *packaged_conf().glob("hydra/sweeper/*/*.yaml")]
    chosen = [path for path in paths if not groups or path.parent.name in groups]
    texts = [path.read_text(encoding="utf-8") for path in chosen]
    return frozenset(name for text in texts for name in NAMED_IN_YAML.findall(text))


def _packaged_networks() -> frozenset[str]:
    return packaged_targets("network", "encoder") | {ENSEMBLE}


def read_project_targets() -> ProjectTargets:
    """The list of the project in the current folder; empty if it has none.

    Raises:
        ValueError: the file has another form.
    """
    if not PROJECT_LIST.is_file():
        return ProjectTargets()
    try:
        return ProjectTargets.model_validate(read_yaml(PROJECT_LIST) or {})
    except pydantic.ValidationError as error:
        reason = error.errors()[0]
        key = ".".join(map(str, reason["loc"]))
        raise ValueError(
            f"{PROJECT_LIST}: expected `configuration:` and `models:`, each a list of dotted "
            f"names, but {key} is {reason['input']!r} - correct the file"
        ) from error


def _entry_of(target: str, entries: list[str]) -> str | None:
    """The entry that allows a name: the name itself, or a module that contains it."""
    if not re.fullmatch(DOTTED_NAME, target):
        return None
    for entry in entries:
        if target == entry or target.startswith(f"{entry}."):
            return entry
    return None


def _locate_own(target: str, entries: list[str]) -> Callable[..., Any]:
    found = _locate(target)
    entry = str(_entry_of(target, entries))
    home = str(getattr(found, "__module__", ""))
    # A listed module also contains what it imports, as `os` or `Path`: only its own code counts.
    if target != entry and home != entry and not home.startswith(f"{entry}."):
        raise ValueError(
            f"expected code of {entry}, but {target!r} is defined in {home or 'no module'} - "
            f"list `{target}` itself in {PROJECT_LIST}"
        )
    return found


def _locate(target: str) -> Callable[..., Any]:
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"expected to import {target!r}, but got: {error} - check its spelling, and that its "
            "folder is on PYTHONPATH"
        ) from error
    if not (inspect.isclass(found) or inspect.isroutine(found)):
        raise ValueError(
            f"expected a class or a function, but {target!r} is a {type(found).__name__} - "
            "name a constructor"
        )
    return cast(Callable[..., Any], found)


def _advice(target: str, key: str) -> str:
    similar = difflib.get_close_matches(target, packaged_targets(), n=1, cutoff=0.8)
    spelling = f"did you mean {similar[0]!r}? Or, " if similar else ""
    return (
        f"{spelling}if you have read that code and trust it, add `- {target}` under `{key}:` in "
        f"{PROJECT_LIST} of your project"
    )
