"""What Hydra says about a wrong command line or configuration file, with the nearest right name."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from hydra._internal.utils import get_args_parser

from maskmill.assembly.conf_search_path import project_conf
from maskmill.assembly.suggestions import groups_of, known_groups, nearest, suggest_key
from maskmill.canonical.yaml_file import read_yaml

KEY = re.compile(r"Could not override '([^']+)'|Key '([^']+)' is not in struct")
CHOICE = re.compile(r"Could not find '([^']+)'")
INTERPOLATION = re.compile(r"Interpolation key '([^']+)' not found")
# Part of Hydra's message -> what to do.
FIXES = {
    "Multiple values": "write `override` in front of it, as in `- override /network: unet`",
    "Could not append to config": "remove the + or write ++",
    "Ambiguous value": "write [a,b] for a list, quote text twice (\"key='a,b'\"), "
    "or add -m to run a sweep",
    "missing EQUAL": "write key=value, without blanks around the =",
    "config directory": "correct --config-dir, and run in the project's folder",
    "primary config": "correct --config-name, or run `maskmill compose` first",
    "no viable alternative": "quote the argument for the shell and close every bracket, as in "
    "'data.crop_size=[96,160]'",
}
OPTIONS = "Available options in "
# Choices that a package of its own brings -> the extra that installs it.
EXTRAS = {
    "hydra/launcher/joblib": "joblib",
}


def explain_override(error: Exception, overrides: Iterable[str] = ()) -> str:
    """One line with the cause and the fix.

    Args:
        error: of Hydra or OmegaConf.
        overrides: of the command line, as key=value.
    """
    text = _reason(error)
    choice = CHOICE.search(text)
    if choice is not None and OPTIONS in str(error):
        listed = str(error).partition(OPTIONS)[2].partition("Config search path")[0]
        names = listed.partition(":")[2].split()
        group, _, name = choice[1].rpartition("/")
        reason = text.partition(f". {OPTIONS}")[0]
        if choice[1] in EXTRAS and not any(other.startswith(name) for other in names):
            return f"{reason} - run pip install 'maskmill[{EXTRAS[choice[1]]}]'"
        return f"{reason} - choose one of {', '.join(names)}{_other_choice(group, name, names)}"
    if choice is not None and "/" not in choice[1]:
        return f"{text} - correct the name{_perhaps(nearest(choice[1], known_groups()))}"
    key = KEY.search(text) or INTERPOLATION.search(text)
    if key is not None:
        name = next(group for group in key.groups() if group)
        return f"{text} - correct the name{_perhaps(suggest_key(name, _value(name, overrides)))}"
    for part, fix in FIXES.items():
        if part in text:
            return f"{text} - {fix}"
    return f"{text} - correct the command line or the file under conf/"


def explain_broken_file(error: Exception, overrides: Sequence[str]) -> str:
    """The message on a configuration file that Hydra cannot read; Hydra does not always name it."""
    parsed, _ = get_args_parser().parse_known_args(overrides)
    for folder in filter(None, (project_conf(), parsed.config_dir, parsed.config_path)):
        for path in sorted(Path(folder).rglob("*.yaml")):
            try:
                read_yaml(path)
            except ValueError as problem:
                return str(problem)
    return f"{' '.join(str(error).split())} - correct the file under conf/"


def _other_choice(group: str, name: str, names: list[str]) -> str:
    """The nearest choice, the group that has this choice, or a file in the wrong folder."""
    others = [other for other in groups_of(name) if other != group]
    own = project_conf()
    if others and own is not None and (own / others[0] / f"{name}.yaml").is_file():
        return f" (or move conf/{others[0]}/{name}.yaml to conf/{group}/)"
    if others:
        return _perhaps(" or ".join(f"{other}={name}" for other in others))
    return _perhaps(nearest(name, names))


def _value(name: str, overrides: Iterable[str]) -> str | None:
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if key == name:
            return value
    return None


def _reason(error: Exception) -> str:
    """Hydra's message and its cause, without the advice to append a key and the search path."""
    lines = str(error).partition("Config search path")[0].splitlines()
    if error.__cause__ is not None:
        lines += str(error.__cause__).splitlines()
    dropped = ("To append to your", "See https:", "full_key:", "object_type=")
    kept = [line.strip() for line in lines if not line.strip().startswith(dropped)]
    return ". ".join(line.rstrip(".") for line in dict.fromkeys(kept) if line)


def _perhaps(suggestion: str | None) -> str:
    return f" (perhaps {suggestion})" if suggestion else ""
