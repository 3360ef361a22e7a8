"""The right name for one that does not exist: of a key, a group, a choice or a command."""

import difflib
import functools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from maskmill.assembly.conf_search_path import packaged_conf, project_conf

ALMOST = 0.8  # a name so similar is a misspelt one
OF_STAGES = ("code", "hydra")  # added by `compose` and Hydra
CLOSE = 0.6  # similarity of a suggestion, difflib's own limit
SAME = 0.05  # further suggestions are at most this much less similar than the best
MAX_SUGGESTIONS = 3
NO_KEYS = ("defaults", "hydra")  # of a file: Hydra's own


def nearest(name: str, names: Iterable[str], *, cutoff: float = CLOSE) -> str | None:
    """The most similar name, whatever its case and punctuation; None if none is similar.

    Args:
        name: that does not exist.
        names: that exist.
        cutoff: the least similarity, 0 to 1.

    Example:
        >>> nearest("DeepLabV3+", ["fpn", "deeplabv3plus", "deeplabv3"])
        'deeplabv3'
    """
    plain = {_plain(known): known for known in names}
    found = difflib.get_close_matches(_plain(name), list(plain), n=1, cutoff=cutoff)
    return plain[found[0]] if found else None


def nearest_keys(name: str, names: Iterable[str]) -> list[str]:
    """The most similar dotted keys; the last component counts most.

    Example:
        >>> nearest_keys("optim.lr", ["optimizer.lr", "tune.lr", "optimizer.betas"])
        ['optimizer.lr']
    """
    scores = {known: _similarity(name, known) for known in names}
    best = max(scores.values(), default=0.0)
    if best < CLOSE:
        return []
    similar = [known for known, score in scores.items() if score >= best - SAME]
    return sorted(similar, key=lambda known: -scores[known])[:MAX_SUGGESTIONS]


def check_top_level(cfg: Mapping[Any, Any]) -> None:
    """Refuse what a file of the project probably misspelt; Hydra adds any key of a file.

    Args:
        cfg: composed.

    Raises:
        ValueError: a key is almost that of a group, or an experiment is not at the top.
    """
    if isinstance(cfg.get("experiment"), (Mapping, DictConfig)) and cfg["experiment"]:
        raise ValueError(
            f"experiment: expected values of other groups, but got {', '.join(cfg['experiment'])} "
            "below `experiment` itself - begin the file with `# @package _global_`"
        )
    known = {*known_choices(), *_keys_of(packaged_conf() / "config.yaml"), *OF_STAGES}
    for key in cfg:
        similar = nearest(str(key), known, cutoff=ALMOST) if key not in known else None
        if similar is not None:
            raise ValueError(
                f"{key}: expected a group or a key of conf/config.yaml, but there is none of this "
                f"name - write {similar} in the file under conf/ or on the line"
            )


def suggest_key(name: str, value: str | None = None) -> str:
    """What to write instead of a key that the configuration does not have; empty if unknown.

    Args:
        name: dotted.
        value: given to it, which may be a choice of another group.
    """
    is_group = value is not None and "." not in name
    groups = groups_of(str(value)) if is_group else []
    if groups:
        meant = nearest(name, groups)
        return " or ".join(f"{group}={value}" for group in ([meant] if meant else groups))
    return " or ".join(nearest_keys(name, known_keys()))


def groups_of(choice: str) -> list[str]:
    """The groups that have a file of this name."""
    return [group for group, names in known_choices().items() if choice in names]


def known_choices() -> dict[str, list[str]]:
    """Group -> choices, of this package and of the project."""
    choices = dict[str, list[str]]()
    for folder in (packaged_conf(), project_conf()):
        for path in sorted(folder.glob("*/*.yaml")) if folder is not None else ():
            choices.setdefault(path.parent.name, []).append(path.stem)
    return choices


def known_keys() -> list[str]:
    """Every dotted key of the packaged conf/, of all choices, and the groups."""
    keys = dict.fromkeys(_keys_of(packaged_conf() / "config.yaml"))
    for path in sorted(packaged_conf().glob("*/*.yaml")):
        group = path.parent.name
        if group != "experiment":  # its keys are those of the other groups
            keys |= dict.fromkeys([group, *(f"{group}.{key}" for key in _keys_of(path))])
    return list(keys)


def known_groups() -> list[str]:
    """The groups of the packaged conf/."""
    return [path.name for path in packaged_conf().iterdir() if path.is_dir()]


@functools.cache
def _keys_of(path: Path) -> list[str]:
    try:
        content = OmegaConf.load(path)
    except (OSError, ValueError):
        return []
    keys = list[str]()
    waiting = [("", OmegaConf.to_container(content))]
    while waiting:
        prefix, node = waiting.pop()
        for key, value in node.items() if isinstance(node, dict) else ():
            keys.append(f"{prefix}{key!s}")
            waiting.append((f"{prefix}{key!s}.", value))
    return [key for key in keys if not key.startswith(NO_KEYS) and "_target_" not in key]


def _similarity(name: str, known: str) -> float:
    """0 to 1; a name without dots is compared with the last component of a key as well."""
    prefix, _, last = name.rpartition(".")
    known_prefix, _, known_last = known.rpartition(".")
    of_last = _ratio(last, known_last)
    if not prefix:
        return max(_ratio(name, known), 0.95 * of_last)
    if of_last < CLOSE or not known_prefix:
        return 0.0
    return 0.6 * of_last + 0.4 * _ratio(prefix, known_prefix)


def _ratio(name: str, known: str) -> float:
    return difflib.SequenceMatcher(None, _plain(known), _plain(name)).ratio()


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower()) or name
