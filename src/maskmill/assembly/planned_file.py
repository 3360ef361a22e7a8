"""The experiment file of a plan, with a reason at each choice; a user's edits are kept."""

import hashlib
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from maskmill.assembly.plan_choice import Choice
from maskmill.canonical.files import write_text

MARK = "# Written by `maskmill plan`, which replaces it unless it was edited.\n# sha256 "
PACKAGE = "# @package _global_\n"
WIDTH = 100
ENDLESS = 10**9


def planned_text(choices: Sequence[Choice], *, summary: str) -> str:
    """The content of the file.

    Args:
        choices: with dotted keys; a later choice of the same key replaces an earlier one.
        summary: what was planned, and from what.

    Example:
        >>> choices = [Choice.of_group("network", "unet", "thin structures"),
        ...     Choice("data.batch_size", 4, "few images")]
        >>> print(planned_text(choices, summary="A plan.").partition("sha256")[2][66:], end="")
        # A plan.
        defaults:
          # thin structures
          - override /network: unet
        data:
          # few images
          batch_size: 4
    """
    last = {choice.key: choice for choice in choices}
    lines = list(_comment(summary, ""))
    lines.append("defaults:")
    tree: dict[str, Any] = {}
    for choice in last.values():
        if choice.is_group:
            lines += _comment(choice.reason, "  ")
            lines.append(f"  - override /{choice.key}: {choice.value}")
        else:
            _plant(tree, choice)
    lines += _nested(tree, "")
    body = "\n".join([*lines, ""])
    return f"{PACKAGE}{MARK}{_digest(body)}\n{body}"


def write_planned(path: Path, text: str) -> Path:
    """Write the file, unless there is one that no plan wrote or that a user has edited.

    Raises:
        FileExistsError: there is such a file.
    """
    require_replaceable(path)
    return write_text(path, text)


def require_replaceable(path: Path) -> None:
    """Check that no file is there, or one as a plan wrote it.

    Raises:
        FileExistsError: there is another file.
    """
    if path.exists() and not is_planned(path):
        raise FileExistsError(
            f"{path}: expected no file, or one as `maskmill plan` wrote it, but this one was "
            "edited or comes from elsewhere - either set plan.out=conf/experiment/NAME.yaml or "
            "move the file away; values of yours belong into params.yaml, where they win"
        )


def is_planned(path: Path) -> bool:
    """Whether a plan wrote the file, and nobody has edited it since."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    digest, _, body = text.removeprefix(PACKAGE + MARK).partition("\n")
    return digest == _digest(body)


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()


def _plant(tree: dict[str, Any], choice: Choice) -> None:
    *parents, last = choice.key.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[last] = choice


def _nested(tree: Mapping[str, Any], indent: str) -> Iterable[str]:
    for key, node in tree.items():
        if isinstance(node, Choice):
            yield from _comment(node.reason, indent)
            yield from _value(key, node.value, indent)
        else:
            yield f"{indent}{key}:"
            yield from _nested(node, f"{indent}  ")


def _value(key: str, value: Any, indent: str) -> Iterable[str]:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        yield f"{indent}{key}:"
        for item in value:
            yield f"{indent}  - {_flow(item)}"
        return
    yield f"{indent}{key}: {_flow(value)}"


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=ENDLESS)
    return text.removesuffix("...\n").strip()


def _comment(text: str, indent: str) -> Iterable[str]:
    for line in textwrap.wrap(text, WIDTH - len(indent) - 2, break_on_hyphens=False):
        yield f"{indent}# {line}"
