"""Which network, task and loss go together, decided before anything long starts.

A network gives outputs, a loss and a post-processor read some of them. Their methods say which, in
annotations for the type checker, and so the answer is written nowhere else; docs/combinations.md
shows it for the files of conf/. A part without such an annotation (a network of your own) is not
checked here, but in its first training step.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from maskmill.assembly.annotations import (
    find_definition,
    keyword_defaults,
    received_keys,
    returned_keys,
)
from maskmill.assembly.conf_search_path import packaged_conf, project_conf
from maskmill.assembly.encoder_fit import encoder_fits, fitting_kinds, kind_of_encoder

PACKAGE = "maskmill."
# What `postprocess.torch_network.as_arrays` makes of an output of the network.
READ_AS = {"classes": "semantic", "confidence": "semantic"}
GROUPS = ("network", "task", "loss")
MAX_CHOICES = 6


@dataclass(frozen=True)
class Given:
    """The outputs of a network.

    Args:
        outputs: that it gives in training, and a loss must read.
        settings: outputs that it would give if the argument of the same name were true.
    """

    outputs: frozenset[str]
    settings: frozenset[str]


def check_combination(cfg: Mapping[Any, Any], choices: Mapping[str, str] | None = None) -> None:
    """Refuse a network, its encoder, a task and a loss that do not go together.

    The network must be able to use the encoder and give what the task reads, and the loss must read
    all that the network gives, and nothing else.

    Args:
        cfg: with the groups `network`, `task` and `loss`.
        choices: group -> chosen file, for messages.

    Raises:
        ValueError: the parts do not go together.
    """
    parts = {group: _plain(cfg[group]) for group in GROUPS}
    names = _Names(parts, choices or {})
    _check_encoder(parts["network"], names)
    given = given_outputs(parts["network"])
    if given is None:
        return
    _check_task(parts, given, names)
    _check_loss(parts, given, names)


def given_outputs(network: Mapping[str, Any]) -> Given | None:
    """What a network gives; None if it does not say so."""
    definition = find_definition(str(network.get("_target_")))
    keys = returned_keys(definition) if definition is not None else None
    if definition is None or keys is None:
        return None
    settings = {**keyword_defaults(definition), **network}
    askable = {key for key in keys.optional if isinstance(settings.get(key), bool)}
    asked = {key for key in askable if settings[key]}
    return Given(keys.required | asked, frozenset(askable - asked))


def outputs_of_loss(loss: Mapping[str, Any]) -> frozenset[str] | None:
    """What a loss and the losses inside it read; None if one of them does not say so."""
    read = set[str]()
    for node in _nodes(loss):
        definition = find_definition(node["_target_"])
        keys = received_keys(definition, "forward") if definition is not None else None
        if keys is not None:
            read |= keys.required
        elif not node["_target_"].startswith(PACKAGE):
            return None
    return frozenset(read) or None


def outputs_of_task(task: Mapping[str, Any]) -> frozenset[str] | None:
    """The outputs of a network that a task's post-processing reads; None if it does not say so."""
    target = str((task.get("postprocess") or {}).get("_target_"))
    definition = find_definition(target)
    keys = received_keys(definition, "__call__") if definition is not None else None
    if keys is None:
        return None
    return frozenset(READ_AS.get(key, key) for key in keys.required)


def fits(network: Mapping[str, Any], *, task: Any = None, loss: Any = None) -> bool:
    """Whether a network goes together with a task, a loss, or both; True if it cannot be known."""
    given = given_outputs(network)
    if given is None:
        return True
    read_by_task = outputs_of_task(task) if task is not None else None
    read_by_loss = outputs_of_loss(loss) if loss is not None else None
    return (read_by_task is None or read_by_task <= given.outputs) and (
        read_by_loss is None or read_by_loss == given.outputs
    )


def choices_of(group: str) -> dict[str, dict[str, Any]]:
    """Choice -> content of every file of a group, of this package and of the project."""
    files = dict[str, Path]()
    for folder in (packaged_conf(), project_conf()):
        for path in sorted((folder / group).glob("*.yaml")) if folder is not None else ():
            files[path.stem] = path
    return {name: _content(path) for name, path in files.items()}


@functools.cache
def _content(path: Path) -> dict[str, Any]:
    return _plain(OmegaConf.load(path), resolve=False)


def _check_encoder(network: Mapping[str, Any], names: "_Names") -> None:
    encoder = network.get("encoder")
    if not isinstance(encoder, Mapping) or encoder_fits(network, encoder):
        return
    kind = kind_of_encoder(str(encoder["name"]))
    assert kind is not None
    fitting = sorted(kind.value for kind in fitting_kinds(network))
    encoders = _choose(
        "encoder", lambda node: encoder_fits(network, node) and node.get("name", "???") != "???"
    )
    networks = _choose("network", lambda node: kind in fitting_kinds(node) and "encoder" in node)
    raise ValueError(
        f"encoder {encoder['name']}: expected an encoder that fits {names.of('network')} "
        f"({' or '.join(fitting)}), but this is a {kind.value} - choose "
        f"{_chosen('encoder', encoders)}, or {_chosen('network', networks)}"
    )


def _check_task(parts: Mapping[str, Mapping[str, Any]], given: Given, names: "_Names") -> None:
    read = outputs_of_task(parts["task"])
    if read is None or read <= given.outputs:
        return
    tasks = _choose("task", lambda task: fits(parts["network"], task=task))
    networks = _choose("network", lambda network: fits(network, task=parts["task"]))
    raise ValueError(
        f"{names.of('task')}: expected a task that needs only what {names.of('network')} gives "
        f"({_listed(given.outputs)}), but it also needs {_listed(read - given.outputs)} - choose "
        f"{_chosen('task', tasks)}, or {_chosen('network', networks)}"
    )


def _check_loss(parts: Mapping[str, Mapping[str, Any]], given: Given, names: "_Names") -> None:
    read = outputs_of_loss(parts["loss"])
    if read is None or read == given.outputs:
        return
    network = names.of("network")
    missing = read - given.outputs
    if missing:
        found = f"it also reads {_listed(missing)}"
    else:
        found = (
            f"no term of it reads {_listed(given.outputs - read)}, whose weights would never be "
            "trained"
        )
    raise ValueError(
        f"{names.of('loss')}: expected a loss of what {network} gives "
        f"({_listed(given.outputs)}), but {found} - {_advice(parts, given, missing)}"
    )


def _advice(parts: Mapping[str, Mapping[str, Any]], given: Given, missing: frozenset[str]) -> str:
    if missing and missing <= given.settings:
        return f"set {', '.join(f'network.{key}=true' for key in sorted(missing))}"
    losses = _choose("loss", lambda loss: fits(parts["network"], loss=loss))
    networks = _choose("network", lambda network: fits(network, loss=parts["loss"]))
    advice = f"choose {_chosen('loss', losses)}"
    return f"{advice}, or {_chosen('network', networks)}" if networks else advice


def _choose(group: str, is_fitting: Callable[[dict[str, Any]], bool]) -> list[str]:
    return [name for name, node in choices_of(group).items() if is_fitting(node)]


class _Names:
    """How messages call a part: by its choice if that is known, else by its class."""

    def __init__(self, parts: Mapping[str, Mapping[str, Any]], choices: Mapping[str, str]) -> None:
        self.parts = parts
        self.choices = choices

    def of(self, group: str) -> str:
        if group in self.choices:
            return f"{group}={self.choices[group]}"
        node = self.parts[group].get("postprocess", self.parts[group])
        return f"{group} {str(node.get('_target_')).rpartition('.')[2]}"


def _chosen(group: str, names: list[str]) -> str:
    shown = names[:MAX_CHOICES]
    more = ", ..." if len(names) > MAX_CHOICES else ""
    return f"{group}={' | '.join(shown)}{more}" if shown else f"another {group}"


def _listed(outputs: frozenset[str]) -> str:
    return ", ".join(sorted(outputs))


def _nodes(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every node with `_target_` at any depth."""
    if isinstance(value, Mapping):
        if isinstance(value.get("_target_"), str):
            yield value
        value = list(value.values())
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    for item in value if is_list else ():
        yield from _nodes(item)


def _plain(node: Any, *, resolve: bool = True) -> dict[str, Any]:
    content: Any = node
    if OmegaConf.is_config(node):
        content = OmegaConf.to_container(node, resolve=resolve)
    return content if isinstance(content, dict) else {}
