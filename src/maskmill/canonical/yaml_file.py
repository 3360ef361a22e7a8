"""YAML files read safely, and written: plain values, and no aliases that expand to gigabytes."""

from pathlib import Path
from typing import Any

import yaml

from maskmill.canonical.files import read_text

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
MAX_EXPANDED = 100_000  # values that a file with aliases may stand for


def read_yaml(path: Path) -> Any:
    """The content of a YAML file as plain values; it cannot construct anything else.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not text or not YAML, or its aliases expand to too many values.
    """
    text = read_yaml_text(path)
    try:
        return yaml.load(text, Loader=LOADER)  # of plain values only # nosec B506
    # Dates that do not exist and numbers with thousands of digits are plain ValueErrors.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _broken(path, error) from error


def write_yaml(path: Path, content: Any) -> None:
    """Write plain values, which `read_yaml` gives back."""
    path.write_text(yaml.dump(content, Dumper=DUMPER, sort_keys=False), encoding="utf-8")


def read_yaml_text(path: Path) -> str:
    """The text of a YAML file whose aliases are checked, for another reader.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not text or not YAML, or its aliases expand to too many values.
    """
    text = read_text(path, expected="a YAML file")
    try:
        if "&" in text and "*" in text:
            _check_aliases(yaml.compose(text, Loader=LOADER), path)
    except (yaml.YAMLError, RecursionError) as error:
        raise _broken(path, error) from error
    return text


def _check_aliases(root: yaml.Node | None, path: Path) -> None:
    """Count the values that a file stands for once every alias is replaced by what it names."""
    sizes: dict[int, int] = {}

    def size(node: Any) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = MAX_EXPANDED + 1  # if an alias names what contains it
            sizes[id(node)] = 1 + sum(map(size, _children(node)))
        return sizes[id(node)]

    if size(root) > MAX_EXPANDED:
        raise ValueError(
            f"{path}: expected aliases that stand for at most {MAX_EXPANDED} values, but these "
            "(`*name`) stand for more - write the values instead"
        )


def _children(node: Any) -> list[Any]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _broken(path: Path, error: Exception) -> ValueError:
    reason = " ".join(str(error).split())
    return ValueError(f"{path}: expected YAML, but got: {reason} - correct the file")
