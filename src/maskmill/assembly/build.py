"""Configuration nodes to objects: only of allowed code, and with checked types and bounds."""

from typing import Any, TypeVar, cast

from omegaconf import DictConfig, OmegaConf

from maskmill.assembly.targets import ConfigurationTargets
from maskmill.serving.construction import Node, construct

T = TypeVar("T")


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
        ValueError: a target is not allowed, see `ConfigurationTargets`; the constructor has no such
            argument, lacks one or refuses a value; a value does not match its annotation (type or
            bound); or the result is not an `expected`. An OSError of the constructor is passed on.
    """
    plain = OmegaConf.to_container(node, resolve=True)
    if not isinstance(plain, dict) or "_target_" not in plain:
        raise ValueError(
            f"Expected a configuration node with `_target_`, but got {plain!r} - choose a file "
            f"of its folder under conf/"
        )
    name = str(node._get_full_key(None))
    built = construct(cast(Node, plain), name, ConfigurationTargets(), **runtime)
    if not isinstance(built, expected):
        raise ValueError(
            f"{name}: expected {plain['_target_']} to construct a {expected.__name__}, but "
            f"got a {type(built).__name__} - "
            "choose another `_target_`"
        )
    return built
