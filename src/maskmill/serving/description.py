"""What a model.json may contain: plain values, and parts of this package alone."""

import importlib
import inspect
import math
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, NotRequired, cast

import pydantic
from pydantic import with_config
from typing_extensions import TypedDict  # as in canonical/schema.py

import maskmill.postprocess
from maskmill.canonical.dataset_file import CalibrationSummary
from maskmill.canonical.schema import STRICT, CategoryRow, require_schema
from maskmill.serving.construction import MAX_DEPTH

POSTPROCESS = maskmill.postprocess.__name__
PART = re.compile(rf"({re.escape(POSTPROCESS)}\.([a-z]\w*))\.([A-Z]\w*)")
MAX_NUMBER = 10**9

FileName = Annotated[str, pydantic.StringConstraints(pattern=r"^\w[\w.-]*$")]  # in no other folder


@with_config(STRICT)
class _Node(TypedDict):
    _target_: str


@with_config(STRICT)
class _Task(TypedDict):
    postprocess: _Node


@with_config(STRICT)
class _Config(TypedDict):
    network: _Node
    task: _Task


@with_config(STRICT)
class _Prediction(TypedDict):
    inference: _Node
    postprocess: dict[str, Any]


@with_config(STRICT)
class _Description(TypedDict):
    config: _Config
    categories: list[CategoryRow]
    data_digest: str
    calibration: NotRequired[CalibrationSummary]
    reference: NotRequired[str]
    members: NotRequired[list[str]]
    weights: NotRequired[str]
    prediction: NotRequired[_Prediction]
    fingerprint: NotRequired[str]
    digests: NotRequired[dict[FileName, str]]


FORM = pydantic.TypeAdapter(_Description)


class PostprocessTargets:
    """What the post-processing of a model.json may name: classes of `maskmill.postprocess`."""

    def check(self, target: str) -> None:
        """Refuse a name that is not allowed; nothing is imported.

        Raises:
            ValueError: `target` is not in a module of `maskmill.postprocess`.
        """
        match = PART.fullmatch(target)
        modules = set()
        for folder in maskmill.postprocess.__path__:
            modules |= {path.stem for path in Path(folder).glob("*.py")}
        if match is None or match[2] not in modules:
            raise _not_a_part(target)

    def find(self, target: str) -> Callable[..., Any]:
        """The class of a name that passed `check`.

        Raises:
            ValueError: the module does not define it.
        """
        module, _, name = target.rpartition(".")
        found = getattr(importlib.import_module(module), name, None)
        # A module also contains what it imports, as `Tensor` or `Path`: only its own classes count.
        if not inspect.isclass(found) or found.__module__ != module:
            raise _not_a_part(target)
        return cast(Callable[..., Any], found)


def _not_a_part(target: str) -> ValueError:
    return ValueError(
        f"expected a class of {POSTPROCESS}, but got {target!r} - train the model again"
    )


def check_description(description: Any, path: Path) -> dict[str, Any]:
    """The content of a model.json, whose form and values are checked.

    Args:
        description: as read.
        path: of the file, for messages.

    Raises:
        ValueError: a value is missing, of another type, out of range or nested too deeply.
    """
    require_schema(FORM, description, path)
    parts = [(key, description[key]) for key in ("config", "prediction") if key in description]
    for name, value in chain.from_iterable(_values(part, f"{path}: {key}") for key, part in parts):
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(
                f"{name}: expected a finite number, but got {value} - train the model again"
            )
        if isinstance(value, int) and abs(value) > MAX_NUMBER:
            raise ValueError(
                f"{name}: expected a whole number up to {MAX_NUMBER}, but got a larger one - "
                "train the model again"
            )
    return cast(dict[str, Any], description)


def _values(value: Any, name: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Every plain value inside, with its dotted name."""
    if depth > MAX_DEPTH:
        raise ValueError(
            f"{name[:300]}: expected at most {MAX_DEPTH} nested levels, but got more - "
            "train the model again"
        )
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _values(item, f"{name}.{key}", depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _values(item, f"{name}.{index}", depth + 1)
    else:
        yield name, value
