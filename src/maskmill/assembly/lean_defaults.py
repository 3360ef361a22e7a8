"""Lets Hydra resolve defaults lists in half of the time.

For each file, Hydra lists all choices that are known so far, for interpolations in the defaults
list of the file (`- augment: ${task}`). With one group per command these lists are half of the time
of a composition, though hardly a file has such an interpolation.
"""

from collections.abc import Sequence
from typing import Any

from hydra._internal import defaults_list
from omegaconf import DictConfig

LIST_CHOICES = "_create_interpolation_map"  # of Hydra 1.3


def list_choices_where_needed() -> None:
    """Let Hydra list known choices for files that refer to them; calling it again changes nothing.

    A Hydra without this function is left as it is.
    """
    listed = getattr(defaults_list, LIST_CHOICES, None)
    if listed is None or listed.__module__ == __name__:
        return

    def list_if_needed(overrides: Any, defaults: Sequence[Any], self_added: bool) -> DictConfig:
        if any(default.is_interpolation() for default in defaults if not default.is_self()):
            choices: DictConfig = listed(overrides, defaults, self_added)
            return choices
        return DictConfig({})

    setattr(defaults_list, LIST_CHOICES, list_if_needed)
