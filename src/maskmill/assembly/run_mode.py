"""Whether a command is a multirun, found without composing its configuration for that alone."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser

from maskmill.assembly.conf_search_path import packaged_conf, project_conf

MULTIRUN = "multirun"  # in capitals or not: what a file or an override must say to set the mode
SETS_MODE = re.compile(rf"mode:\s*{MULTIRUN}", re.IGNORECASE)
COMPOSED_MODE = Hydra.get_mode


def prepare_mode(arguments: list[str]) -> None:
    """Let Hydra look for `hydra.mode` in a composed configuration only if it may be set there.

    Hydra composes the configuration of each command twice, first for this value alone: half of the
    time that a command needs before it begins its work.

    Args:
        arguments: of a command, as Hydra reads them.
    """
    Hydra.get_mode = COMPOSED_MODE if may_set_mode(arguments) else _unset_mode


def may_set_mode(arguments: list[str]) -> bool:
    """Whether an override or a configuration file that can be chosen may set `hydra.mode`.

    The packaged files that set it are chosen by their names, in an override or in a file of the
    project.
    """
    words = [MULTIRUN]
    for path in packaged_conf().rglob("*.yaml"):
        if SETS_MODE.search(path.read_text(encoding="utf-8")):
            words.append(re.escape(path.stem))
    return bool(re.search("|".join(words), "\n".join(_own_texts(arguments)), re.IGNORECASE))


def _own_texts(arguments: list[str]) -> Iterator[str]:
    """The overrides, and the files of the project and of --config-dir."""
    parsed, _ = get_args_parser().parse_known_args(arguments)
    yield from parsed.overrides
    for folder in filter(None, (project_conf(), parsed.config_dir, parsed.config_path)):
        for path in Path(folder).rglob("*.yaml"):
            yield path.read_text(encoding="utf-8", errors="replace")


def _unset_mode(*_: Any, **__: Any) -> None:
    """No mode: Hydra then goes by the flag --multirun."""
