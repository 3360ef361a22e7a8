"""Memory that one image or training step frees and the next needs."""

import ctypes
import sys

import numpy as np

SIZE = 30_000_000  # bytes; the most that the allocator of Linux takes into account is 32 MB
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h of the GNU C library
NEVER, NONE = -1, 0


def keep_freed_memory() -> None:
    """Let this process keep the memory of an image for the next one, up to twice `SIZE`.

    Otherwise the allocator returns it to the system after each image and gets it again page by
    page, which takes twice as long as to decode a PNG of labels. The C library of Linux measures by
    the largest array that was freed so far what programs use again and again (dynamic threshold,
    mallopt(3)). This array is never written to, so that it takes no memory.
    """
    np.empty(SIZE, np.uint8)


def keep_all_freed_memory() -> bool:
    """Let this process keep all memory that it frees, for arrays of any size; see mallopt(3).

    A training step needs the same arrays as the step before. Those above 32 MB, such as the logits
    of many classes, are otherwise returned to the system and got again page by page.

    Returns:
        whether the C library is GNU's, the only one that can be told so.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_MAX, NONE) and mallopt(M_TRIM_THRESHOLD, NEVER))
