"""The setting of a job as a file of conf/experiment/, so that it can be trained by its name."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import yaml

from maskmill.assembly.conf_search_path import packaged_conf
from maskmill.assembly.sweep_record import parse
from maskmill.canonical.files import write_text

# Groups and values that say where a job writes and how it is tracked.
PLACES = {"hydra", "out", "sweep", "tracking", "train"}
EXPERIMENT = "experiment"


def write_experiment(
    name: str, overrides: Sequence[str], *, groups: Collection[str], reason: Sequence[str]
) -> Path:
    """Write conf/experiment/<name>.yaml in the current folder, and never over another file.

    Args:
        name: of the file; a number is added if the name is in use for another setting.
        overrides: of the job.
        groups: names of the groups, whose overrides are choices.
        reason: lines of the comment.

    Returns:
        the file: a new one, or one that has this setting already.
    """
    text = experiment_text(overrides, groups=groups, reason=reason)
    folder = Path("conf") / EXPERIMENT
    number = 1
    while True:
        stem = name if number == 1 else f"{name}_{number}"
        path = folder / f"{stem}.yaml"
        if path.is_file() and path.read_text(errors="replace") == text:
            return path
        if not path.exists() and not (packaged_conf() / EXPERIMENT / path.name).exists():
            return write_text(path, text)
        number += 1


def experiment_text(
    overrides: Sequence[str], *, groups: Collection[str], reason: Sequence[str]
) -> str:
    """The content of the file.

    Example:
        >>> print(experiment_text(["network=unet", "optimizer.lr=1e-3"], groups=["network"],
        ...     reason=["The best of 4 jobs."]), end="")
        # @package _global_
        # The best of 4 jobs.
        defaults:
        - _self_
        - override /network: unet
        optimizer:
          lr: 0.001
    """
    bases: list[Any] = []
    choices: list[Any] = []
    values: dict[str, Any] = {}
    comments = ["@package _global_", *reason]
    for override in parse(overrides):
        key = override.key_or_group
        if key.partition(".")[0].partition("/")[0] in PLACES:
            continue
        if override.is_delete():
            comments.append(
                f"The job also removed {key}: add {override.input_line} to the command."
            )
        elif key == EXPERIMENT:
            bases.append(override.value())
        elif key in groups:
            package = f"@{override.package}" if override.package else ""
            choices.append({f"override /{key}{package}": override.value()})
        else:
            _set(values, key, override.value())
    if bases:  # an experiment that sweeps must not do so again
        single: dict[str, Any] = {"mode": None, "sweeper": {"params": None}}
        values["hydra"] = single
    content = {"defaults": [*bases, "_self_", *choices], **values}
    body = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    return "".join(f"# {line}\n" for line in comments) + body


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
    values[last] = value
