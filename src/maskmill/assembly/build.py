"""Configuration nodes to objects: Hydra's `instantiate` behind a check of types and bounds."""

import inspect
import json
import typing
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import pydantic
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

T = TypeVar("T")
Node = dict[str, Any]


def build(node: DictConfig, expected: type[T], **runtime: Any) -> T:
    """Construct the object that a configuration node describes.

    Args:
        node: a mapping with `_target_` and the arguments of that constructor; nested nodes are
            constructed too.
        expected: the type of the result.
        runtime: further arguments, known only at run time.

    Returns:
        the object.

    Raises:
        ValueError: the constructor has no such argument, a value does not match its annotation
            (type or bound), or the result is not an `expected`. A ValueError or OSError of the
            constructor itself is passed on.
    """
    plain = OmegaConf.to_container(node, resolve=True)
    if not isinstance(plain, dict) or "_target_" not in plain:
        raise ValueError(
            f"Expected a configuration node with `_target_`, but got {plain!r} - choose a file "
            f"of its folder under conf/"
        )
    name = str(node._get_full_key(None))
    checked = _checked_node(typing.cast(Node, plain), name)
    try:
        built = instantiate(checked, **runtime, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(
            cause, ValueError | OSError
        ):  # the constructor's own message is the clear one
            raise cause from error
        raise
    if not isinstance(built, expected):
        raise ValueError(
            f"{name}: expected {checked['_target_']} to construct a {expected.__name__}, but "
            f"got a {type(built).__name__} - "
            "choose another `_target_`"
        )
    return built


def _checked_node(node: Node, name: str) -> Node:
    """The node with each value converted to its annotated type, as a string to a `Path`."""
    target = get_object(node["_target_"])
    parameters = inspect.signature(target).parameters
    accepts_any = any(
        parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()
    )
    annotations = _annotations(target)
    checked: Node = {}
    for key, value in node.items():
        if key.startswith("_"):
            checked[key] = value
            continue
        if key not in parameters and not accepts_any:
            raise ValueError(
                f"{name}.{key}: {node['_target_']} has no argument {key!r}, only "
                f"{', '.join(parameters)} - correct the name"
            )
        checked[key] = _checked_value(value, annotations.get(key, Any), f"{name}.{key}")
    return checked


def _checked_value(value: Any, annotation: Any, name: str) -> Any:
    if isinstance(value, dict) and "_target_" in value:
        return _checked_node(value, name)
    if isinstance(value, dict) and _contains_node(value.values()):
        return {key: _checked_value(item, Any, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, list) and _contains_node(value):
        return [_checked_value(item, Any, f"{name}.{index}") for index, item in enumerate(value)]
    adapter = _adapter(annotation)
    if adapter is None:
        return value
    try:  # JSON mode: a list may become a tuple and a string a Path, but "3" is not a number
        return adapter.validate_json(json.dumps(value), strict=True)
    except pydantic.ValidationError as error:
        reason = error.errors()[0]["msg"]
        found = f"{value!r} ({type(value).__name__})"
        raise ValueError(
            f"{name}: expected {_type_name(annotation)}, but got {found}: {reason} - set "
            f"another value"
        ) from error


def _contains_node(values: Iterable[Any]) -> bool:
    """Is there a node with `_target_` at any depth?"""
    for value in values:
        if isinstance(value, dict) and ("_target_" in value or _contains_node(value.values())):
            return True
        if isinstance(value, list) and _contains_node(value):
            return True
    return False


def _adapter(annotation: Any) -> pydantic.TypeAdapter[Any] | None:
    """A checker of values; None for an annotation of another library that pydantic cannot read."""
    has_own_config = isinstance(annotation, type) and (
        issubclass(annotation, pydantic.BaseModel) or hasattr(annotation, "__pydantic_config__")
    )
    config = None if has_own_config else pydantic.ConfigDict(arbitrary_types_allowed=True)
    try:
        return pydantic.TypeAdapter(annotation, config=config)
    except (pydantic.PydanticUserError, pydantic.errors.PydanticSchemaGenerationError, TypeError):
        return None


def _type_name(annotation: Any) -> str:
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]  # the bound is in pydantic's reason
    return (
        annotation.__name__
        if isinstance(annotation, type)
        else str(annotation).replace("typing.", "")
    )


def _annotations(target: Callable[..., Any]) -> dict[str, Any]:
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (
        NameError,
        TypeError,
        AttributeError,
    ):  # annotations of another library that only type checkers can read
        return {}
