"""conf/ + params.yaml -> out/conf/: one resolved configuration per stage, which DVC compares.

`dvc repro` does not compose Hydra configurations, so the stage `compose` does, before all others.
Each file holds only the groups its stage reads and the digests of the code that the chosen parts
run, so a changed value or source file reruns exactly the stages whose result it can change.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from maskmill.assembly.chosen import keep_choices, leaf_keys
from maskmill.assembly.code_digests import code_digests, stage_modules
from maskmill.assembly.combinations import check_combination
from maskmill.assembly.command_line import quote_paths, read_mapping
from maskmill.assembly.conf_search_path import (
    check_project_conf,
    packaged_conf,
    register_search_path,
)
from maskmill.assembly.override_errors import explain_override
from maskmill.assembly.suggestions import check_top_level, known_keys, nearest, nearest_keys
from maskmill.assembly.targets import ConfigurationTargets
from maskmill.canonical.files import write_text
from maskmill.canonical.yaml_file import read_yaml_text
from maskmill.serving.construction import check_arguments, check_targets

PARAMS = Path("params.yaml")
OUT = Path("out/conf")
# What stages read and write; the parts of a training are checked when it starts, since they need
# torch.
SETTINGS = re.compile(r"maskmill\.assembly\.\w+\.\w+Settings")
TOP = ("group", "set")  # of params.yaml
# A resolved file is a complete Hydra configuration: its program runs in place and logs to the
# terminal only.
HYDRA = {"run": {"dir": "."}, "output_subdir": None}
RESERVED = ("defaults", "hydra", "code")
UNCHANGED = "_"  # in params.yaml: what conf/ has; the key is there for `dvc exp run -S key=...`
LOGGING = [{"override hydra/job_logging": "stdout"}, "_self_"]


def compose_stages(params: Path = PARAMS, out: Path = OUT) -> list[Path]:
    """Write one resolved configuration file per stage.

    Args:
        params: YAML with `group` (choices, as `network: unet`) and `set` (values, as `optimizer:
            {lr: 1e-3}`).
        out: folder for the files.

    Returns:
        the files written.

    Raises:
        ValueError: params.yaml has another form, names what the configuration does not have, or
            chooses a network, task and loss that do not go together.
    """
    check_project_conf()
    groups, values = read_params(params)
    overrides = quote_paths([f"{group}={choice}" for group, choice in groups.items()])
    register_search_path()
    try:
        with initialize_config_dir(str(packaged_conf()), version_base="1.3"):
            cfg = compose("config", overrides, return_hydra_config=True)
        with open_dict(cfg):
            choices = cfg.pop("hydra").runtime.choices
        check_top_level(cfg)
        set_values(cfg, values)
        keep_choices(cfg, choices, leaf_keys(OmegaConf.to_container(values)))
        resolved = OmegaConf.to_container(cfg, resolve=True)
        assert isinstance(resolved, dict)
        for stage in resolved["stages"]:
            _check_groups(stage, resolved)
        check_combination(resolved, choices)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(f"{params}: {explain_override(error, overrides)}") from error
    except ValueError as error:
        raise ValueError(f"{params}: {error}") from error
    return [_write_stage(stage, resolved, out) for stage in resolved["stages"]]


def _write_stage(stage: str, resolved: Mapping[Any, Any], out: Path) -> Path:
    groups = {key: resolved[key] for key in resolved["stages"][stage]}
    content = stage_configuration(groups, stage_code(stage, resolved))
    return write_text(
        out / f"{stage}.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    )


def stage_configuration(groups: Mapping[str, Any], code: Mapping[str, str]) -> dict[str, Any]:
    """The content of a resolved file, with which Hydra runs the stage again.

    Args:
        groups: that the stage reads, resolved.
        code: module -> digest, of the code that the stage runs.
    """
    escaped = {key: _escaped(value) for key, value in groups.items()}
    return {"defaults": LOGGING, "hydra": HYDRA, **escaped, "code": dict(code)}


def _escaped(value: Any) -> Any:
    """The value such that Hydra, which reads the file, leaves text as it is."""
    if isinstance(value, Mapping):
        return {key: _escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    return value.replace("${", r"\${") if isinstance(value, str) else value


def _check_groups(stage: str, resolved: Mapping[Any, Any]) -> None:
    """Check what a stage reads: no code that is not allowed, and not Hydra's own settings."""
    for group in resolved["stages"][stage]:
        if group in RESERVED:
            raise ValueError(
                f"stages.{stage}: expected groups of conf/, but got {group!r}, which `compose` "
                "writes itself - remove it"
            )
        check_targets(resolved[group], str(group), ConfigurationTargets())
        if SETTINGS.fullmatch(_target(resolved[group])):
            check_arguments(resolved[group], str(group), ConfigurationTargets())


def _target(value: Any) -> str:
    return str(value.get("_target_")) if isinstance(value, Mapping) else ""


def stage_code(stage: str, resolved: Mapping[Any, Any]) -> dict[str, str]:
    """Module -> digest of the code that decides a stage's result under a resolved configuration."""
    parts = [resolved[key] for key in resolved["stages"][stage]]
    parts += [_node(resolved, path) for path in resolved["runs"].get(stage, [])]
    return code_digests(stage_modules(stage, parts))


def _node(resolved: Mapping[Any, Any], path: str) -> Any:
    node: Any = resolved
    for key in path.split("."):
        node = node[key]
    return node


def read_params(params: Path) -> tuple[dict[str, str], DictConfig]:
    """The choices and the values that a params.yaml changes; numbers like 1e-3 are numbers.

    Raises:
        ValueError: the file is missing, not a mapping, or has other keys than `group` and `set`.
    """
    if not params.is_file():
        raise ValueError(
            f"{params}: expected the overrides of the pipeline in this file, but there is none "
            f"- run in the project's root folder"
        )
    text = read_yaml_text(params)
    try:
        content = OmegaConf.create(text)  # its YAML, in which 1e-3 is a number
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{params}: expected YAML, but got: {reason} - correct this line; indent with blanks, "
            "not tabs, and by the same number within a block"
        ) from error
    if not isinstance(content, DictConfig) or set(content) - set(TOP):
        raise ValueError(
            f"{params}: expected only `group:` and `set:` at the top, but got "
            f"{OmegaConf.to_container(content)!r} - {_move(content)}"
        )
    groups = {
        str(group): "null" if choice is None else str(choice)
        for group, choice in _mapping(content, "group", params).items()
    }
    return groups, _mapping(content, "set", params)


def _move(content: Any) -> str:
    wrong = [str(key) for key in content if key not in TOP] if OmegaConf.is_dict(content) else []
    meant = nearest(wrong[0], TOP) if wrong else None
    return f"write `{meant}:` for `{wrong[0]}:`" if meant else "move values under `set:`"


def _changes(values: Any) -> dict[Any, Any]:
    """A mapping without the values that are `UNCHANGED`, and without mappings of no others."""
    changes = {}
    for key, value in values.items():
        if value == UNCHANGED:
            continue
        if not isinstance(value, Mapping) or not value:
            changes[key] = value
        elif inner := _changes(value):
            changes[key] = inner
    return changes


def _mapping(content: DictConfig, key: str, params: Path) -> DictConfig:
    value = content.get(key)
    if value is None:
        return OmegaConf.create({})
    if not isinstance(value, DictConfig):
        raise ValueError(
            f"{params}: expected a mapping under `{key}:`, but got {value!r} - "
            f"write `{key}: {{name: value}}`"
        )
    return OmegaConf.create(_changes(OmegaConf.to_container(value)))


def set_values(cfg: DictConfig, values: DictConfig, prefix: str = "") -> None:
    """Replace values of a configuration, each as it is written in YAML.

    Args:
        cfg: is changed.
        values: nested as `cfg`; a key that `cfg` lacks needs a `+` in front, except in a mapping
            that is empty there.
        prefix: dotted path of `cfg`, for messages.

    Raises:
        ValueError: `cfg` has no such key.
    """
    is_open = not cfg
    for key, value in values.items_ex(resolve=False):
        name = str(key).lstrip("+")
        if name not in cfg and not is_open and not str(key).startswith("+"):
            raise ValueError(_unknown_key(f"{prefix}{name}", prefix, list(cfg)))
        current = cfg._get_node(name) if name in cfg else None
        if isinstance(current, DictConfig) and isinstance(value, str) and value.startswith("{"):
            value = read_mapping(value, f"{prefix}{name}")
        if not prefix and isinstance(current, DictConfig) and _is_choice(value):
            raise ValueError(
                f"expected values under `set: {name}:`, but got {value!r} - to choose a file of "
                f"conf/{name}/, write `group: {{{name}: {value}}}`"
            )
        if isinstance(current, DictConfig) and _merges(value, current):
            set_values(current, value, f"{prefix}{name}.")
            continue
        with open_dict(cfg):
            cfg[name] = value


def _merges(value: Any, current: DictConfig) -> bool:
    """Whether values change single keys of a mapping, rather than replace it.

    A constructor call replaces a mapping that is none, as a rule of splitting in place of a table.
    """
    if not isinstance(value, DictConfig) or current._is_none():
        return False
    return "_target_" not in value or "_target_" in current


def _is_choice(value: Any) -> bool:
    """Is it a name, as of a file, and not an interpolation?"""
    return isinstance(value, str) and not value.startswith("${")


def _unknown_key(name: str, prefix: str, known: list[Any]) -> str:
    key = name.removeprefix(prefix)
    if "." in key:
        outer, _, inner = key.partition(".")
        return (
            f"there is no {key!r} in the configuration, since a key here has no dots - "
            f"write `{outer}: {{{inner}: ...}}`"
        )
    names = [f"{prefix}{other}" for other in known]
    similar = nearest_keys(name, names) or nearest_keys(name, known_keys())
    found = f"there is no {name!r} in the configuration, but {', '.join(sorted(names)[:12])}"
    if not similar:
        return f"{found} - either correct it or write +{key} to add a key"
    written = " or ".join(_as_yaml(other) for other in similar)
    return f"{found} - correct it (perhaps {similar[0]!r}): write `set: {written}`"


def _as_yaml(key: str) -> str:
    outer, _, inner = key.partition(".")
    return f"{{{outer}: {_as_yaml(inner) if inner else '...'}}}"
