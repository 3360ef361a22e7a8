"""What remains to be done when a command ends, however it ends.

Hydra calls `on_multirun_end` of its callbacks only if every job succeeded.
"""

from contextlib import ExitStack
from typing import Self


class _CommandEnd(ExitStack):
    """An `ExitStack` that says whether this process is a command, or a program that imports us."""

    is_entered = False

    def __enter__(self) -> Self:
        self.is_entered = True
        return super().__enter__()


AT_THE_END = _CommandEnd()
