"""What the user chose, by its names under conf/: the parameters by which runs are compared."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, open_dict

# The order of the parameters in a run.
GROUPS = (
    *("task", "network", "loss", "optimizer", "scheduler"),
    *("augment", "trainer", "callbacks"),
)
NOT_PARAMETERS = ("tracking", "train")  # groups that do not decide the result of a training


def keep_choices(
    cfg: DictConfig, choices: Mapping[str, str | None], changed: Iterable[str]
) -> None:
    """Add to `tracking` the names of the chosen files, and the values that the user changed.

    Args:
        cfg: composed; one without `stages` or `tracking.choices` is left as it is.
        choices: group -> chosen file, as Hydra knows them.
        changed: dotted keys of values that the user gave.
    """
    if "stages" not in cfg or "choices" not in (cfg.get("tracking") or {}):
        return
    with open_dict(cfg.tracking):
        for group in GROUPS:
            if choices.get(group) is not None:
                cfg.tracking.choices[group] = choices[group]
        groups = set(cfg.stages.train) - set(NOT_PARAMETERS)
        known = set(cfg.tracking.params.values())
        for key in changed:
            key = f"network.{key}" if key.startswith("encoder.") else key
            group, _, rest = key.partition(".")
            if rest and group in groups and key not in known:
                cfg.tracking.params[key] = key


def leaf_keys(values: Any, prefix: str = "") -> Iterator[str]:
    """The dotted keys of all values in nested mappings; a `+` in front of a key is left out."""
    assert isinstance(values, Mapping)
    for key, value in values.items():
        name = f"{prefix}{str(key).lstrip('+')}"
        if isinstance(value, Mapping) and value:
            yield from leaf_keys(value, f"{name}.")
        else:
            yield name


def run_parameters(
    config: Mapping[str, Any],
    values: Mapping[str, str],
    choices: Mapping[str, str],
    params: Mapping[str, str],
) -> dict[str, str]:
    """The parameters of a run: chosen files first, then values.

    Args:
        config: the groups that decide the result; a group whose choice is unknown is shown by the
            name of its class.
        values: dotted key -> text, of the same groups.
        choices: group -> chosen file.
        params: name -> dotted key; one that the configuration lacks is left out.
    """
    found = {}
    for group in GROUPS:
        target = (config.get(group) or {}).get("_target_", "").rpartition(".")[2]
        found[group] = choices.get(group, target)
    for name, key in params.items():
        found[name] = values.get(key, "").strip("[]")  # MLflow breaks a list into lines
    return {name: text for name, text in found.items() if text}
