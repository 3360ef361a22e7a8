"""COCO's run-length codes, checked completely before they become pixels.

pycocotools trusts a code: one that is too short leaves pixels as they were in memory, and one
changed character can make it run without end.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

MAX_CHARACTERS = 7  # 5 bits each: enough for the difference of any two 32 bit numbers
FIRST_CHARACTER = ord("0")
SIX_BITS = 64


def rle_runs(rle: Any, size: tuple[int, int]) -> Ints:
    """The run lengths of a code, after checking that they cover the image exactly.

    Args:
        rle: `{"size": [H, W], "counts": ...}`; counts are a list of run lengths, or a str or bytes
            in COCO's compressed form.
        size: the expected height and width.

    Returns:
        (R,) pixels down the columns: outside the mask, inside, outside, ...; some may be 0.

    Raises:
        ValueError: the code has another size or form, or does not cover the image exactly. The
            message says what was expected and found, but names no file.

    Example:
        >>> rle_runs({"size": [2, 2], "counts": "13"}, (2, 2)).tolist()
        [1, 3]
    """
    if not isinstance(rle, dict):
        raise ValueError(f"expected `size` and `counts`, but got a {type(rle).__name__}")
    _require_size(rle.get("size"), size)
    counts = rle.get("counts")
    if isinstance(counts, list):
        runs = _listed_runs(counts)
    elif isinstance(counts, str | bytes):
        runs = _decompressed_runs(counts)
    else:
        raise ValueError(f"expected counts as a list or text, but got {type(counts).__name__}")
    if runs.size and int(runs.min()) < 0:
        raise ValueError(f"expected run lengths of at least 0, but got {int(runs.min())}")
    num_pixels = size[0] * size[1]
    total = int(runs.sum())
    if total != num_pixels:
        raise ValueError(f"expected runs of {num_pixels} pixels in all, but got {total}")
    return runs


def decode_rle(rle: Any, size: tuple[int, int]) -> Mask:
    """The mask of a code.

    Args:
        rle: see `rle_runs`.
        size: the expected height and width.

    Returns:
        (H, W) bool.

    Raises:
        ValueError: see `rle_runs`.

    Example:
        >>> decode_rle({"size": [2, 2], "counts": [1, 3]}, (2, 2)).astype(int).tolist()
        [[0, 1], [1, 1]]
    """
    runs = rle_runs(rle, size)
    height, width = size
    isinside = np.arange(runs.size) % 2 == 1
    return np.repeat(isinside, runs).reshape(width, height).T


def _require_size(found: Any, size: tuple[int, int]) -> None:
    """Raise a ValueError if the size in a code is not `size`."""
    is_pair = isinstance(found, list | tuple) and set(map(type, found)) == {int}
    if not is_pair or tuple(found) != tuple(size):
        raise ValueError(f"expected size {list(size)}, but got {str(found)[:40]}")


def _listed_runs(counts: list[Any]) -> Ints:
    """Run lengths (R,) from a list."""
    if not set(map(type, counts)) <= {int}:
        raise ValueError("expected counts of whole numbers, but got other values")
    try:
        return _bounded(np.array(counts, np.int64))
    except OverflowError as error:
        raise ValueError("expected counts of pixels, but one is beyond 2**63") from error


def _decompressed_runs(text: str | bytes) -> Ints:
    """Run lengths (R,) from a compressed code.

    Each character has five bits of a number; the sixth says that the number continues, the fifth of
    its last character is its sign. From the fourth number on, the code contains differences to
    the last but one (rleToString in COCO's maskApi.c).
    """
    encoded = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    codes = np.frombuffer(encoded, np.uint8).astype(np.int64) - FIRST_CHARACTER
    if not codes.size:
        return codes
    if int(codes.min()) < 0 or int(codes.max()) >= SIX_BITS:
        raise ValueError("expected a run-length code, but it has characters beyond '0' to 'o'")
    ends = np.flatnonzero(codes < 32)
    if not ends.size or ends[-1] != codes.size - 1:
        raise ValueError("expected a whole run-length code, but it ends within a number")
    starts = np.zeros_like(ends)
    starts[1:] = ends[:-1] + 1
    num_characters = ends - starts + 1
    if int(num_characters.max()) > MAX_CHARACTERS:
        raise ValueError(f"expected numbers of {MAX_CHARACTERS} characters, but one is longer")
    digit = np.arange(codes.size) - np.repeat(starts, num_characters)
    numbers = np.add.reduceat((codes & 31) << (5 * digit), starts)
    isnegative = codes[ends] >> 4  # 0 or 1: the number's last character is below 32
    numbers -= isnegative << (5 * num_characters)
    numbers[1::2] = numbers[1::2].cumsum()
    numbers[2::2] = numbers[2::2].cumsum()
    return _bounded(numbers)


def _bounded(runs: Ints) -> Ints:
    """The same run lengths, none longer than 32 bits: their sum cannot overflow."""
    if runs.size and int(np.abs(runs).max()) >= 2**32:
        raise ValueError("expected runs of pixels of the image, but one is longer than 32 bits")
    return runs
