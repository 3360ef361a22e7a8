"""Images that are the same to the eye: found by a perceptual hash, confirmed by their thumbnails."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from maskmill.canonical.png import RGB

THUMB = 32  # pixels a side of what is hashed
MAX_BITS = 8  # of 63; saving again, scaling and brightening change at most 8, and so do neighbouring frames of a slow video
MIN_CORRELATION = 0.97  # of the thumbnails; other pictures of one street or dish stay below it
BLOCK = 2048  # images compared at once, to bound the memory


@dataclass(frozen=True)
class Print:
    """What an image looks like: a hash of 63 bits and a thumbnail, 32 x 32 gray levels in a row."""

    bits: int
    thumbnail: bytes


def print_of(rgb: RGB) -> Print:
    """The print of an image (H, W, 3) uint8: the signs of its lowest frequencies (DCT hash, Zauner 2010, sec. 3.2.1)."""
    gray = cv2.resize(
        cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), (THUMB, THUMB), interpolation=cv2.INTER_AREA
    )
    lowest = cv2.dct(gray.astype(np.float32))[:8, :8].reshape(-1)[1:]  # without the mean brightness
    signs = lowest > np.median(lowest)
    return Print(
        int(np.dot(signs.astype(object), [1 << place for place in range(63)])),
        gray.astype(np.uint8).tobytes(),
    )


def similar(first: Sequence[Print], second: Sequence[Print]) -> Iterator[tuple[int, int]]:
    """Pairs of places (in `first`, in `second`) whose images look the same."""
    hashes = [np.array([one.bits for one in prints], dtype=np.uint64) for prints in (first, second)]
    for start in range(0, len(first), BLOCK):
        for other in range(0, len(second), BLOCK):
            rows, columns = hashes[0][start : start + BLOCK], hashes[1][other : other + BLOCK]
            near = np.bitwise_count(rows[:, None] ^ columns[None]) <= MAX_BITS
            for row, column in np.argwhere(near).tolist():
                pair = start + row, other + column
                if _correlation(first[pair[0]], second[pair[1]]) >= MIN_CORRELATION:
                    yield pair


def _correlation(one: Print, other: Print) -> float:
    """Pearson's correlation of two thumbnails; 1 for two even ones."""
    first, second = _centred(one), _centred(other)
    length = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / length if length > 0 else float(one.thumbnail == other.thumbnail)


def _centred(one: Print) -> npt.NDArray[np.float64]:
    levels = np.frombuffer(one.thumbnail, np.uint8).astype(np.float64)
    return np.asarray(levels - levels.mean())
