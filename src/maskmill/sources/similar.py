"""Images that look the same: found by a perceptual hash, confirmed by their thumbnails."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from os import SEEK_END
from tempfile import TemporaryFile

import cv2
import numpy as np
import numpy.typing as npt

from maskmill.canonical.png import RGB

THUMBNAIL_PX = 32  # width and height of the thumbnail that is hashed
# Of 63. Saving, scaling and brightening an image changes at most 8 bits; neighbouring frames of a
# slow video differ by as few.
MAX_DIFFERENT_BITS = 8
MIN_CORRELATION = 0.97  # of thumbnails; different photographs of one street or dish are below it
BLOCK = 2048  # images compared at once, which limits the memory


@dataclass(frozen=True)
class Fingerprint:
    """What an image looks like: a hash of 63 bits and a thumbnail, 32 x 32 gray levels in rows."""

    bits: int
    thumbnail: bytes


class Fingerprints:
    """The fingerprints of many images; their thumbnails are in a temporary file."""

    def __init__(self) -> None:
        self._bits = array("Q")
        self._thumbnails = TemporaryFile()  # noqa: SIM115 - `close` closes it

    def __len__(self) -> int:
        return len(self._bits)

    def append(self, image: Fingerprint) -> None:
        """Add an image."""
        self._thumbnails.seek(0, SEEK_END)
        self._thumbnails.write(image.thumbnail)
        self._bits.append(image.bits)

    @property
    def bits(self) -> npt.NDArray[np.uint64]:
        """The hash of each image, (N,)."""
        return np.array(self._bits, np.uint64)

    def thumbnail(self, index: int) -> bytes:
        """The thumbnail of the image at an index."""
        self._thumbnails.seek(index * THUMBNAIL_PX**2)
        return self._thumbnails.read(THUMBNAIL_PX**2)

    def close(self) -> None:
        """Remove the temporary file."""
        self._thumbnails.close()


def fingerprint(rgb: RGB) -> Fingerprint:
    """The fingerprint of an image (H, W, 3) uint8.

    The bits are the signs of its lowest frequencies (DCT hash, Zauner 2010, sec. 3.2.1).
    """
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    thumbnail = cv2.resize(gray, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
    frequencies = cv2.dct(thumbnail.astype(np.float32))
    lowest = frequencies[:8, :8].reshape(-1)[1:]  # without the mean brightness
    signs = lowest > np.median(lowest)
    bits = 0
    for position in np.flatnonzero(signs).tolist():
        bits |= 1 << position
    return Fingerprint(bits, thumbnail.astype(np.uint8).tobytes())


def find_similar(first: Fingerprints, second: Fingerprints) -> Iterator[tuple[int, int]]:
    """Pairs of indices (into `first`, into `second`) of images that look the same."""
    first_bits = first.bits
    second_bits = second.bits
    for row_start in range(0, len(first), BLOCK):
        rows = first_bits[row_start : row_start + BLOCK]
        for column_start in range(0, len(second), BLOCK):
            columns = second_bits[column_start : column_start + BLOCK]
            num_different = np.bitwise_count(rows[:, None] ^ columns[None])
            for row, column in np.argwhere(num_different <= MAX_DIFFERENT_BITS).tolist():
                i = row_start + row
                j = column_start + column
                if _correlation(first.thumbnail(i), second.thumbnail(j)) >= MIN_CORRELATION:
                    yield i, j


def _correlation(first: bytes, second: bytes) -> float:
    """Pearson's correlation of two thumbnails; 1 if both have one and the same gray level."""
    first_levels = _centred(first)
    second_levels = _centred(second)
    norm = float(np.linalg.norm(first_levels) * np.linalg.norm(second_levels))
    if norm > 0:
        return float(first_levels @ second_levels) / norm
    return float(first == second)


def _centred(thumbnail: bytes) -> npt.NDArray[np.float64]:
    levels = np.frombuffer(thumbnail, np.uint8).astype(np.float64)
    return np.asarray(levels - levels.mean())
