"""Fewer searches for garbage while a command imports its libraries or exports a network."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

NEW_OBJECTS = 100_000  # between two searches; Python's own number is 700


@contextmanager
def rare_collection() -> Iterator[None]:
    """Search for garbage rarely: there are a million objects to search, and none is garbage.

    Importing and exporting then take a tenth less processor time. Not for the steps of a training,
    whose garbage may hold large tensors.
    """
    first, second, third = gc.get_threshold()
    gc.set_threshold(NEW_OBJECTS, second, third)
    try:
        yield
    finally:
        gc.set_threshold(first, second, third)
