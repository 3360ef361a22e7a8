"""Memory that one image frees and the next needs."""

import numpy as np

SIZE = 30_000_000  # bytes; the most that the allocator of Linux takes into account is 32 MB


def keep_freed_memory() -> None:
    """Let this process keep the memory of an image for the next one, up to twice `SIZE`.

    Otherwise the allocator returns it to the system after each image and gets it again page by
    page, which takes twice as long as to decode a PNG of labels. The C library of Linux measures by
    the largest array that was freed so far what programs use again and again (dynamic threshold,
    mallopt(3)). This array is never written to, so that it takes no memory.
    """
    np.empty(SIZE, np.uint8)
