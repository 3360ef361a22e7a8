"""The progress of long work, on a terminal or in a log."""

import logging
import sys
from collections.abc import Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
log = logging.getLogger(__name__)

MIN_LOGGED = 200  # shorter work is not logged


def show_progress(items: Iterator[T], total: int, title: str) -> Iterator[T]:
    """Pass items through, with a progress bar on a terminal and ten log lines elsewhere."""
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, unit="image", desc=title)
        return
    for number, item in enumerate(items, start=1):
        if total >= MIN_LOGGED and number % (total // 10) == 0:
            log.info("%d of %d images", number, total)
        yield item
