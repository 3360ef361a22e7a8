"""The progress of long work, on a terminal or in a log."""

import logging
import sys
import time
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
    start = time.monotonic()
    for number, item in enumerate(items, start=1):
        if total >= MIN_LOGGED and number % (total // 10) == 0:
            seconds = (time.monotonic() - start) / number * (total - number)
            log.info("%d of %d images, %s left", number, total, show_time(seconds))
        yield item


def show_time(seconds: float) -> str:
    """Seconds as h:mm:ss.

    Example:
        >>> show_time(3725.5)
        '1:02:05'
    """
    whole = max(0, int(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
