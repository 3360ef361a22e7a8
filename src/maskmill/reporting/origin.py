"""The model behind the predictions of a report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from maskmill.evaluation.learning_curves import Row

RUN_FACTS = Markup(
    "<dt>run</dt><dd>name, commit and date are in the copy of this report in MLflow, at the run "
    "that trained the model</dd>"
)
NUM_DIGITS = 12


@dataclass(frozen=True)
class Origin:
    """What is known about a model; empty for predictions of other tools.

    Args:
        fingerprint: of the model.
        weights: sha256 of its weights; empty if its files are not at hand.
        config: the resolved configuration of its training; empty if its files are not at hand.
        history: its learning curves.
    """

    fingerprint: str = ""
    weights: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    history: Sequence[Row] = ()

    @property
    def task_class(self) -> str:
        """The class of its task, such as "PanopticTask"; empty if it is not known."""
        return _name(self.config.get("task"))

    def value(self, *keys: str) -> Any:
        """A value of the configuration; None if there is none."""
        node: Any = self.config
        for key in keys:
            node = node.get(key) if isinstance(node, Mapping) else None
        return node

    def facts(self) -> dict[str, str]:
        """What a reader wants to know about the model, without what is not known."""
        facts = {
            "network": _name(self.value("network", "decoder") or self.value("network")),
            "encoder": self._encoder(),
            "loss": self._loss(),
            "training": self._training(),
        }
        if self.fingerprint:
            facts["model"] = self.fingerprint[:NUM_DIGITS]
        if self.weights:
            facts["model"] += f", weights {self.weights[:NUM_DIGITS]}"
        return {name: fact for name, fact in facts.items() if fact}

    def _loss(self) -> str:
        losses = self.value("loss", "losses")
        if not isinstance(losses, list):
            return _name(self.value("loss"))
        return " + ".join(_name(loss) for loss in losses)

    def _encoder(self) -> str:
        encoder = self.value("network", "encoder")
        name = self.value("network", "encoder", "name")
        if name is None:
            return _name(encoder)
        is_pretrained = encoder.get("pretrained") or encoder.get("weights")
        return f"{name}, {'pretrained' if is_pretrained else 'from random weights'}"

    def _training(self) -> str:
        values = {
            "epochs": self.value("trainer", "max_epochs"),
            "batches of": self.value("data", "batch_size"),
            "crops of": self.value("data", "crop_size"),
            "learning rate": self.value("optimizer", "lr"),
            "seed": self.value("seed"),
        }
        words = []
        for name, value in values.items():
            if isinstance(value, list):
                value = " x ".join(map(str, value)) + " px"
            if value is not None:
                words.append(f"{value} {name}" if name == "epochs" else f"{name} {value}")
        optimizer = _name(self.value("optimizer"))
        return ", ".join([*words, optimizer] if optimizer else words)


NO_ORIGIN = Origin()


def with_run(report: str, facts: Mapping[str, str]) -> str:
    """A report with facts about the run that trained the model.

    They are not in the report that `evaluate` writes, whose bytes are the same in every clone.
    """
    rows = []
    for name, fact in facts.items():
        rows.append(Markup("<dt>{}</dt><dd>{}</dd>").format(name, fact))
    return report.replace(RUN_FACTS, Markup("\n").join(rows), 1)


def _name(node: Any) -> str:
    """The class that a node names, or the module of the function that it names; empty without."""
    target = node.get("_target_", "") if isinstance(node, Mapping) else ""
    *modules, name = str(target).split(".")
    is_function = name == name.lower() and modules
    return modules[-1] if is_function else name
