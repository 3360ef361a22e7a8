"""Command lines: paths that Hydra's grammar would misread, and flags that it does not have."""

import re
from collections.abc import Iterable
from pathlib import Path

import yaml
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from maskmill.assembly.suggestions import suggest_key

OVERRIDE = re.compile(r"(?P<key>[~+]*[^\s=~+-][^\s=]*)=(?P<value>.+)", re.DOTALL)
FLAG = re.compile(r"--?[a-zA-Z][\w-]*")
WRITTEN_FOR_HYDRA = ("[", "{", "'", '"')  # what begins like this is Hydra's to read or refuse


def quote_paths(arguments: Iterable[str], *, is_sweep: bool = False) -> list[str]:
    """The arguments, with quotes around values that are text but not in Hydra's grammar.

    Such are paths with umlauts, blanks, `#`, `=` and the like, and mappings of YAML whose keys have
    them, see `read_mappings`. A comma separates the values of a
    sweep, so outside of a sweep a path with a comma is one value, and within one if it exists.

    Args:
        arguments: of a command, as the shell passes them.
        is_sweep: whether commas separate the values of a sweep.

    Example:
        >>> quote_paths(["source.root=data/M\u00fcller #2", "optimizer.lr=1e-3"])
        ["source.root='data/M\u00fcller #2'", 'optimizer.lr=1e-3']
    """
    return [_quoted(argument, is_sweep) for argument in arguments]


def read_mappings(cfg: DictConfig, overrides: Iterable[str]) -> None:
    """Set the mappings that `quote_paths` has quoted: class names with umlauts are keys so.

    Args:
        cfg: composed; is changed.
        overrides: of the command.

    Raises:
        ValueError: such a mapping has another form than YAML's.
    """
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        value = override.value()
        if not isinstance(value, str) or not value.startswith("{"):
            continue
        argument = f"{override.key_or_group}={value}"
        if _is_mapping(value) and not _is_read(argument, is_path=False, is_sweep=True):
            with open_dict(cfg):
                mapping = read_mapping(value, override.key_or_group)
                OmegaConf.update(cfg, override.key_or_group, mapping, merge=False)


def read_mapping(text: str, name: str) -> DictConfig:
    """A mapping that is written as text.

    Args:
        text: YAML, as `{Fußgänger: 0.5}`.
        name: of the value, for messages.

    Raises:
        ValueError: it has another form.
    """
    try:
        mapping = OmegaConf.create(text)
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        raise ValueError(_other_form(text, name)) from error
    if not isinstance(mapping, DictConfig) or None in mapping.values():
        raise ValueError(_other_form(text, name))
    return mapping


def _other_form(text: str, name: str) -> str:
    return (
        f"{name}: expected a mapping, but got {text} - write {{key: value}} as in YAML, with a "
        "blank after the colon"
    )


def _is_mapping(text: str) -> bool:
    """Whether YAML, but perhaps not Hydra's grammar, reads a mapping."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        return False
    # {a,b} is text, as in a pattern of file names; {a:1} a mapping that lacks its blank
    return isinstance(content, dict) and ":" in text


def check_flags(arguments: Iterable[str]) -> None:
    """Refuse flags that no command has: values are set as `group.name=value`.

    Args:
        arguments: of a command, as the shell passes them.

    Raises:
        ValueError: there is such a flag.
    """
    for argument in arguments:
        flag = FLAG.match(argument)
        if flag is None or _is_known(flag[0]):
            continue
        name = flag[0].lstrip("-").replace("-", "_")
        meant = suggest_key(name, argument.partition("=")[2] or None)
        perhaps = f" (perhaps {meant})" if meant else ""
        raise ValueError(
            f"{argument}: expected overrides like trainer.max_epochs=3, but got a flag that no "
            f"command has - write GROUP.{name}=VALUE{perhaps}; --help lists groups and values"
        )


def _is_known(flag: str) -> bool:
    """Whether Hydra has the flag; argparse takes the beginning of a long one and -mr for -m -r."""
    known = get_args_parser()._option_string_actions  # argparse has no public list
    if flag.startswith("--"):
        return any(name.startswith(flag) for name in known)
    return flag in known or flag[:2] in known


def _quoted(argument: str, is_sweep: bool) -> str:
    match = OVERRIDE.fullmatch(argument)
    if match is None:
        return argument
    is_mapping = match["value"].startswith("{") and _is_mapping(match["value"])
    if match["value"].startswith(WRITTEN_FOR_HYDRA) and not is_mapping:
        return argument
    exists = _exists(match["value"])
    is_path = exists or "/" in match["value"]
    if _is_read(argument, is_path=is_path, is_sweep=is_sweep and not exists):
        return argument
    return f"{match['key']}={quote_text(match['value'])}"


def quote_text(text: str) -> str:
    """The text as a value that Hydra reads as this text, whatever it contains."""
    # A backslash is doubled only before a quote and at the end, where it would escape the quote.
    value = re.sub(r"(\\*)('|\Z)", _escape, text)
    return f"'{value}'"


def _exists(path: str) -> bool:
    """Whether a text with commas is a path of this machine, and not the values of a sweep."""
    try:
        return "," in path and Path(path).exists()
    except (OSError, ValueError):  # too long, or with a null character
        return False


def _escape(match: re.Match[str]) -> str:
    return 2 * match[1] + ("\\'" if match[2] else "")


def _is_read(argument: str, *, is_path: bool, is_sweep: bool) -> bool:
    """Whether Hydra reads the argument, and not as a sweep over the parts of one path."""
    try:
        override = OverridesParser.create().parse_override(argument)
    except HydraException:
        return False
    return is_sweep or not (is_path and override.is_choice_sweep())
