"""Run-time facts for the callbacks that need them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import RGB


@dataclass(frozen=True)
class RunContext:
    """Facts about a run that its configuration cannot contain.

    Args:
        folder: folder of the checkpoints and the resume state.
        flush: writes pending metrics; called before a checkpoint, which must not be ahead of them.
        show: takes an image (H, W, 3) uint8, its ground truth, its prediction, a name and the step.
    """

    folder: Path
    flush: Callable[[], None]
    show: Callable[[RGB, Panoptic, Panoptic, str, int], None]


@runtime_checkable
class NeedsContext(Protocol):
    """A callback that needs the context before training starts."""

    def attach(self, context: RunContext) -> None:
        """Receive the context."""


def attach(callbacks: Iterable[object], context: RunContext) -> None:
    """Give the context to each callback that needs it."""
    for callback in callbacks:
        if isinstance(callback, NeedsContext):
            callback.attach(context)
