"""What the rules of `maskmill plan` take and give."""

from dataclasses import dataclass
from typing import Any, Literal

Weights = Literal["package", "hub", "none"]
Device = Literal["cpu", "gpu"]


@dataclass(frozen=True)
class Machine:
    """What trains.

    Args:
        device: the device of the training.
        cores: processor cores that this process may use.
        memory: bytes of the device that a step may use.
        weights: where the weights of an encoder come from.
    """

    device: Device
    cores: int
    memory: int
    weights: Weights


@dataclass(frozen=True)
class Choice:
    """A value of the configuration, and why it was chosen.

    Args:
        key: dotted, as `data.crop_size`; of a group, its name alone.
        value: plain data, as YAML has it.
        reason: with the numbers it came from.
        is_group: the value is a file of conf/<key>/.
    """

    key: str
    value: Any
    reason: str
    is_group: bool = False

    @classmethod
    def of_group(cls, group: str, name: str, reason: str) -> "Choice":
        """The choice of a file of conf/<group>/."""
        return cls(group, name, reason, is_group=True)
