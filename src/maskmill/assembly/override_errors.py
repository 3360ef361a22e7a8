"""What Hydra says about a wrong command line or configuration file, with the nearest right name."""

import difflib
import re
from collections.abc import Iterable

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from maskmill.assembly.conf_search_path import packaged_conf

KEY = re.compile(r"Could not override '([^']+)'|Key '([^']+)' is not in struct")
CHOICE = re.compile(r"Could not find '([^']+)'")
INTERPOLATION = re.compile(r"Interpolation key '([^']+)' not found")
# Part of Hydra's message -> what to do.
FIXES = {
    "Could not append to config": "remove the + or write ++",
    "Ambiguous value": "write [a,b] for a list, or add -m to run a sweep",
    "missing EQUAL": "write key=value, without blanks around the =",
    "config directory": "correct --config-dir, and run in the project's folder",
    "primary config": "correct --config-name, or run `maskmill compose` first",
    "no viable alternative": "quote the argument for the shell and close every bracket, as in "
    "'data.crop_size=[96,160]'",
}
OPTIONS = "Available options in "
CLOSE = 0.6  # similarity of a suggestion, difflib's own limit


def explain_override(error: Exception) -> str:
    """One line with the cause and the fix.

    Args:
        error: of Hydra or OmegaConf.
    """
    text = _reason(error)
    choice = CHOICE.search(text)
    if choice is not None and OPTIONS in str(error):
        listed = str(error).partition(OPTIONS)[2].partition("Config search path")[0]
        names = listed.partition(":")[2].split()
        suggestion = _suggestion(choice[1].rpartition("/")[2], names)
        reason = text.partition(f". {OPTIONS}")[0]
        return f"{reason} - choose one of {', '.join(names)}{suggestion}"
    key = KEY.search(text) or INTERPOLATION.search(text)
    if key is not None:
        name = next(group for group in key.groups() if group)
        return f"{text} - correct the name{_suggestion(name, _all_keys())}"
    for part, fix in FIXES.items():
        if part in text:
            return f"{text} - {fix}"
    return f"{text} - correct the command line or the file under conf/"


def _reason(error: Exception) -> str:
    """Hydra's message and its cause, without the advice to append a key and the search path."""
    lines = str(error).partition("Config search path")[0].splitlines()
    if error.__cause__ is not None:
        lines += str(error.__cause__).splitlines()
    dropped = ("To append to your config", "See https:", "full_key:", "object_type=")
    kept = [line.strip() for line in lines if not line.strip().startswith(dropped)]
    return ". ".join(line.rstrip(".") for line in dict.fromkeys(kept) if line)


def _suggestion(name: str, names: Iterable[str]) -> str:
    similar = difflib.get_close_matches(name, list(names), n=1, cutoff=CLOSE)
    return f" (perhaps {similar[0]})" if similar else ""


def _all_keys() -> list[str]:
    """The dotted keys of the default configuration, groups among them."""
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(packaged_conf()), version_base="1.3"):
            return _keys_of(compose("config"), "")
    except HydraException:
        return []


def _keys_of(node: DictConfig, prefix: str) -> list[str]:
    keys: list[str] = []
    for key in map(str, node):
        keys.append(f"{prefix}{key}")
        if OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, key):
            continue
        if isinstance(node[key], DictConfig):
            keys += _keys_of(node[key], f"{prefix}{key}.")
    return keys
