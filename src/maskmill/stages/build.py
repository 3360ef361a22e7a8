"""Configuration nodes to objects: Hydra's `instantiate`, with the values held against the constructor's annotations first."""

import inspect
import json
import typing
from collections.abc import Callable
from typing import Any, TypeVar

import pydantic
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

T = TypeVar("T")
Node = dict[str, Any]


def build(node: DictConfig, expected: type[T], **runtime: Any) -> T:
    """Construct what a configuration node describes.

    Args:
        node: a mapping with `_target_` and the arguments of that constructor; nested nodes are constructed too.
        expected: the type the result must have.
        runtime: further arguments, known only now.

    Returns:
        the object.

    Raises:
        ValueError: an argument is unknown to the constructor or has another type than annotated, or the result is no `expected`;
            whatever the constructor itself refuses comes through as it is.
    """
    plain = OmegaConf.to_container(node, resolve=True)
    if not isinstance(plain, dict) or "_target_" not in plain:
        raise ValueError(
            f"Expected a configuration node with `_target_`, but got {plain!r} - choose a file of its folder under conf/"
        )
    checked = _checked(typing.cast(Node, plain), str(node._get_full_key(None)))
    try:
        built = instantiate(checked, **runtime, _convert_="all")
    except InstantiationException as error:
        if isinstance(
            error.__cause__, ValueError | OSError
        ):  # the constructor's own words are the message
            raise error.__cause__ from error
        raise
    if not isinstance(built, expected):
        raise ValueError(
            f"Expected {checked['_target_']} to make a {expected.__name__}, but got a {type(built).__name__} - "
            "choose another `_target_` for this part of the configuration"
        )
    return built


def _checked(node: Node, where: str) -> Node:
    """The node with every plain value replaced by what its annotation makes of it (a `Path` of a string, say)."""
    target = get_object(node["_target_"])
    parameters = inspect.signature(target).parameters
    takes_any = any(
        parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()
    )
    hints = _annotations(target)
    checked: Node = {}
    for key, value in node.items():
        if not key.startswith("_") and key not in parameters and not takes_any:
            raise ValueError(
                f"{where}.{key}: {node['_target_']} has no argument {key!r}, only {', '.join(parameters)} - mend the name"
            )
        checked[key] = (
            value if key.startswith("_") else _value(value, hints.get(key, Any), f"{where}.{key}")
        )
    return checked


def _value(value: Any, hint: Any, where: str) -> Any:
    if isinstance(value, dict) and "_target_" in value:
        return _checked(value, where)
    if _holds_node(value):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        made = {key: _value(item, Any, f"{where}.{key}") for key, item in items}
        return made if isinstance(value, dict) else list(made.values())
    try:
        adapter = pydantic.TypeAdapter(
            hint,
            config=None
            if _has_own_config(hint)
            else pydantic.ConfigDict(arbitrary_types_allowed=True),
        )
    except (pydantic.PydanticUserError, pydantic.errors.PydanticSchemaGenerationError, TypeError):
        return value  # an annotation pydantic cannot read, in a library of others: the constructor must judge
    try:  # JSON mode: a list may become a tuple and a string a Path, but "3" is no number
        return adapter.validate_json(json.dumps(value), strict=True)
    except pydantic.ValidationError as error:
        name = hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
        raise ValueError(
            f"{where}: expected {name}, but got {value!r} ({type(value).__name__}): {error.errors()[0]['msg']} - mend the value"
        ) from error


def _holds_node(value: Any) -> bool:
    if isinstance(value, dict):
        return "_target_" in value or any(_holds_node(item) for item in value.values())
    return isinstance(value, list) and any(_holds_node(item) for item in value)


def _has_own_config(hint: Any) -> bool:
    return isinstance(hint, type) and (
        issubclass(hint, pydantic.BaseModel) or hasattr(hint, "__pydantic_config__")
    )


def _annotations(target: Callable[..., Any]) -> dict[str, Any]:
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(function)
    except (
        NameError,
        TypeError,
        AttributeError,
    ):  # annotations for type checkers only, in a library of others
        return {}
