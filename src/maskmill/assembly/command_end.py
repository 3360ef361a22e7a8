"""What remains to be done when a command ends, however it ends.

Hydra calls `on_multirun_end` of its callbacks only if every job succeeded.
"""

from contextlib import ExitStack

AT_THE_END = ExitStack()
