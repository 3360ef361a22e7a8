"""Nodes with `_target_` to objects, behind a check of every name, argument, type and bound.

Hydra's `instantiate` is not used: production has no Hydra, and it resolves interpolations once
more, so that an escaped one could become a node that nobody has checked.
"""

import difflib
import functools
import inspect
import json
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import pydantic

Node = Mapping[str, Any]
TARGET = "_target_"
PARTIAL = "_partial_"
UNSUPPORTED = ("_args_", "_convert_", "_recursive_")  # of Hydra
MAX_DEPTH = 32  # nested levels; conf/ has at most 8


class Targets(Protocol):
    """Which names a node may have as its `_target_`."""

    def check(self, target: str) -> None:
        """Refuse a name that is not allowed; nothing is imported.

        Raises:
            ValueError: `target` is not allowed; the message says what would be.
        """

    def find(self, target: str) -> Callable[..., Any]:
        """The class or function of a name that passed `check`.

        Raises:
            ValueError: there is none of this name, or it is another one than its name says.
        """


def construct(node: Node, name: str, targets: Targets, **runtime: Any) -> Any:
    """Construct the object that a node describes, and the objects of the nodes inside it.

    All names are checked before the first one is imported.

    Args:
        node: `_target_`, the arguments by name, and optionally `_partial_`: true, which gives a
            function that takes the remaining arguments. Plain values: nothing is interpolated.
        name: of the node, for messages.
        targets: the names that may be constructed.
        runtime: further arguments, which replace those of the node.

    Returns:
        the object.

    Raises:
        ValueError: a target is not allowed, has no such argument or lacks one, or refuses a value;
            or a value does not match its annotation (type or bound). An OSError of a constructor
            is passed on.
    """
    check_targets(node, name, targets)
    return _construct(node, name, targets, runtime)


def check_arguments(node: Node, name: str, targets: Targets) -> None:
    """Check the names and values of a constructor's arguments without calling it.

    Nodes among the values are left to `construct`, since their constructors must be imported.

    Args:
        node: with `_target_`, which has passed `check_targets`.
        name: of the node, for messages.
        targets: what may be named.

    Raises:
        ValueError: the constructor has no such argument, or a value does not match its annotation.
    """
    target = targets.find(node[TARGET])
    given = {key: value for key, value in node.items() if key not in {TARGET, PARTIAL}}
    _check_names(given, inspect.signature(target).parameters, node[TARGET], name)
    annotations = _annotations(target)
    for key, value in given.items():
        if not _contains_node([value]):
            _checked(value, annotations.get(key, Any), f"{name}.{key}")


def check_targets(value: Any, name: str, targets: Targets, depth: int = 0) -> None:
    """Check every `_target_` in a value, at any depth, without importing anything.

    Raises:
        ValueError: one is not allowed, or the value is nested too deeply.
    """
    if depth > MAX_DEPTH:
        raise ValueError(
            f"{name[:300]}: expected at most {MAX_DEPTH} nested levels, but got more - "
            "remove the inner ones"
        )
    if isinstance(value, Mapping):
        if TARGET in value:
            _check_node(value, name, targets)
        for key, item in value.items():
            check_targets(item, f"{name}.{key}", targets, depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            check_targets(item, f"{name}.{index}", targets, depth + 1)


def _check_node(node: Node, name: str, targets: Targets) -> None:
    target = node[TARGET]
    if not isinstance(target, str):
        raise ValueError(
            f"{name}.{TARGET}: expected a dotted name, but got {target!r} - write it as text"
        )
    try:
        targets.check(target)
    except ValueError as error:
        raise ValueError(f"{name}.{TARGET}: {error}") from error
    if not isinstance(node.get(PARTIAL, False), bool):
        raise ValueError(
            f"{name}.{PARTIAL}: expected true or false, but got {node[PARTIAL]!r} - correct it"
        )
    for key in UNSUPPORTED:
        if key in node:
            raise ValueError(
                f"{name}.{key}: expected arguments by name, but got {key} - "
                f"remove it, and name each argument of {target}"
            )


def _construct(node: Node, name: str, targets: Targets, runtime: Mapping[str, Any]) -> Any:
    target_name = node[TARGET]
    try:
        target = targets.find(target_name)
    except ValueError as error:
        raise ValueError(f"{name}.{TARGET}: {error}") from error
    given = {key: value for key, value in node.items() if key not in {TARGET, PARTIAL, *runtime}}
    parameters = inspect.signature(target).parameters
    _check_names(given, parameters, target_name, name)
    annotations = _annotations(target)
    arguments = {
        key: _value(value, annotations.get(key, Any), f"{name}.{key}", targets)
        for key, value in given.items()
    }
    if node.get(PARTIAL):
        return functools.partial(target, **arguments, **runtime)
    return _call(target, arguments | dict(runtime), target_name, name)


def _check_names(
    given: Iterable[str], parameters: Mapping[str, inspect.Parameter], target: str, name: str
) -> None:
    kinds = {parameter.kind for parameter in parameters.values()}
    if inspect.Parameter.VAR_KEYWORD in kinds:
        return
    for key in given:
        if key not in parameters:
            raise ValueError(
                f"{name}.{key}: {target} has no argument {key!r}, only "
                f"{', '.join(parameters)} - correct the name{_perhaps(key, parameters)}"
            )


def _call(
    target: Callable[..., Any], arguments: Mapping[str, Any], target_name: str, name: str
) -> Any:
    try:
        inspect.signature(target).bind(**arguments)
    except TypeError as error:
        raise ValueError(
            f"{name}: expected all arguments of {target_name}, but got: {error} - set it"
        ) from error
    try:
        return target(**arguments)
    except ValueError as error:
        message = _explain_refusal(error, target_name, name)
        if message is None:  # its own message is the clear one
            raise
        raise ValueError(message) from error
    except OSError:
        raise
    except Exception as error:
        raise ValueError(
            f"{name}: expected values that {target_name} accepts, but got "
            f"{type(error).__name__}: {error} - change its values"
        ) from error


def _explain_refusal(error: ValueError, target_name: str, name: str) -> str | None:
    """A clear message for an error of pydantic; None for any other.

    albumentations checks its arguments by pydantic and passes that message on.
    """
    refusal = error.__cause__ if isinstance(error.__cause__, pydantic.ValidationError) else error
    if not isinstance(refusal, pydantic.ValidationError) or str(error) != str(refusal):
        return None
    finding = refusal.errors()[0]
    key = ".".join([name, *map(str, finding["loc"])])
    return (
        f"{key}: expected a value that {target_name} accepts, but got {finding['input']!r}: "
        f"{finding['msg']} - set another value, there or where it is interpolated from"
    )


def _value(value: Any, annotation: Any, name: str, targets: Targets) -> Any:
    """The value with its nodes constructed, or converted to its annotated type, as to a `Path`."""
    if isinstance(value, Mapping) and TARGET in value:
        return _construct(value, name, targets, {})
    if isinstance(value, Mapping) and _contains_node(value.values()):
        return {key: _value(item, Any, f"{name}.{key}", targets) for key, item in value.items()}
    if isinstance(value, list) and _contains_node(value):
        return [_value(item, Any, f"{name}.{i}", targets) for i, item in enumerate(value)]
    return _checked(value, annotation, name)


def _checked(value: Any, annotation: Any, name: str) -> Any:
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
            f"another value{_perhaps(value, _options(annotation))}"
        ) from error


def _options(annotation: Any) -> list[str]:
    """The words that a type accepts: those of a `Literal`, and true and false."""
    if annotation is bool:
        return ["true", "false"]
    options = list[str]()
    for argument in typing.get_args(annotation):
        options += [argument] if isinstance(argument, str) else _options(argument)
    return options


def _perhaps(name: Any, names: Iterable[str]) -> str:
    similar = difflib.get_close_matches(str(name), list(names), n=1)
    return f" (perhaps {similar[0]})" if similar else ""


def _contains_node(values: Iterable[Any]) -> bool:
    """Is there a node with `_target_` at any depth?"""
    for value in values:
        if isinstance(value, Mapping) and (TARGET in value or _contains_node(value.values())):
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
    """The type as a reader writes it, without bounds: those are in pydantic's reason.

    Example:
        >>> _type_name(tuple[typing.Annotated[int, "at least 1"], ...])
        'tuple[int, ...]'
    """
    if typing.get_origin(annotation) is typing.Annotated:
        return _type_name(typing.get_args(annotation)[0])
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__name__
    return re.sub(r"typing\.Annotated\[(\w+), [^\]]*\]", r"\1", str(annotation)).replace(
        "typing.", ""
    )


def _annotations(target: Callable[..., Any]) -> dict[str, Any]:
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):  # of another library, for type checkers only
        return {}
