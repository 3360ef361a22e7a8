"""Which file each value of the configuration comes from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from maskmill.assembly.composition import read_params, set_values
from maskmill.assembly.conf_search_path import project_conf

LINE = "command line"
HYDRA = "hydra"
COLUMN = 60  # of the comments


@dataclass(frozen=True)
class ConfigSettings:
    """What `maskmill config` prints.

    Args:
        group: a key at the top; None prints all.
        params: print what `dvc repro` runs with under this params.yaml; None prints what the
            command line gives.
    """

    group: str | None = None
    params: Path | None = None


@dataclass(frozen=True)
class Composed:
    """A configuration and where its values come from.

    Args:
        cfg: with its interpolations.
        origins: dotted key -> file or `LINE`; of a mapping that is replaced whole, its key alone.
    """

    cfg: DictConfig
    origins: Mapping[str, str]


def compose_line(overrides: list[str]) -> Composed:
    """What a command line gives.

    Args:
        overrides: in Hydra's grammar.
    """
    # Hydra has no public way to ask for the defaults list and its files.
    loader = GlobalHydra.instance().config_loader()
    assert isinstance(loader, ConfigLoaderImpl)
    cfg = loader.load_configuration("config", overrides, RunMode.RUN)
    origins = dict[str, str]()
    _, repository = loader._parse_overrides_and_create_caching_repo("config", overrides)
    for default in loader.compute_defaults_list("config", overrides, RunMode.RUN).defaults:
        loaded = loader._load_single_config(default=default, repo=repository)
        file = _file(str(default.config_path), str(loaded.provider))
        for key in _leaves(loaded.config):
            origins[key] = file
    for override in OverridesParser.create().parse_overrides(overrides):
        origins[override.key_or_group] = LINE
    del cfg._content[HYDRA]  # settings of the program
    return Composed(cfg, origins)


def compose_params(params: Path) -> Composed:
    """What the pipeline runs with.

    Args:
        params: with `group` and `set`.

    Raises:
        ValueError: params.yaml has another form, or names what the configuration does not have.
    """
    groups, values = read_params(params)
    composed = compose_line([f"{group}={choice}" for group, choice in groups.items()])
    origins = dict(composed.origins)
    set_values(composed.cfg, values)
    for key in _leaves(values):
        origins[key.replace("+", "")] = str(params)
    return Composed(composed.cfg, origins)


def annotated_lines(composed: Composed, group: str | None = None) -> Iterator[str]:
    """The configuration as YAML with a comment behind each value: its file.

    Args:
        composed: the configuration.
        group: a key at the top; None: all.
    """
    for key in composed.cfg:
        if group in {None, key}:
            yield from _lines(composed.cfg, str(key), "", composed.origins)


def _lines(node: DictConfig, key: str, prefix: str, origins: Mapping[str, str]) -> Iterator[str]:
    indent = "  " * prefix.count(".")
    name = f"{prefix}{key}"
    value = node._get_node(key)
    if isinstance(value, DictConfig) and not value._is_interpolation() and value._content:
        yield f"{indent}{_yaml(key)}:"
        for inner in value:
            yield from _lines(value, str(inner), f"{name}.", origins)
        return
    raw = OmegaConf.to_container(node, resolve=False)
    assert isinstance(raw, dict)
    text = f"{indent}{_yaml({key: raw.get(key)})}"
    found = f" = {_resolved(node, key)}" if _stands_for_value(node, key) else ""
    yield f"{text:<{COLUMN}}  # {_origin(name, origins)}{found}"


def _stands_for_value(node: DictConfig, key: str) -> bool:
    """Is it an interpolation of a single value or a list?"""
    return OmegaConf.is_interpolation(node, key) and not OmegaConf.is_dict(node[key])


def _resolved(node: DictConfig, key: str) -> str:
    value = node[key]
    is_list = OmegaConf.is_config(value)
    return _yaml(OmegaConf.to_container(value, resolve=True) if is_list else value)


def _yaml(value: Any) -> str:
    text = yaml.safe_dump(
        value, default_flow_style=True, width=10**9, sort_keys=False, allow_unicode=True
    )
    line = text.removesuffix("...\n").strip()
    return line[1:-1] if isinstance(value, dict) else line


def _origin(name: str, origins: Mapping[str, str]) -> str:
    """The origin of a key, or of the mapping around it that was written as a whole."""
    while name not in origins and "." in name:
        name = name.rpartition(".")[0]
    return origins.get(name, "conf/")


def _file(config_path: str, provider: str) -> str:
    is_packaged = provider != "project" and project_conf() is not None
    name = f"conf/{config_path}.yaml"
    return f"maskmill/{name}" if is_packaged else name


def _leaves(node: Any, prefix: str = "") -> Iterator[str]:
    """The dotted keys of all values that are not mappings."""
    content: Any = OmegaConf.to_container(node) if OmegaConf.is_config(node) else node
    for key, value in content.items() if isinstance(content, dict) else ():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
