"""COCO's run-length codes, checked completely before they become pixels.

pycocotools trusts a code: one that is too short leaves pixels as they were in memory, and one
changed character can make it run without end.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

MAX_CHARACTERS = 7  # 5 bits each: enough for the difference of any two 32 bit numbers
FIRST_CHARACTER = ord("0")
SIX_BITS = 64
SHORT_TEXT = 100  # characters
MAX_SHORT_BITS = 25  # so that the sum of short codes stays below the 32 bits of `_bounded`


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
        runs = _decompressed(_encoded(counts))
    else:
        raise ValueError(f"expected counts as a list or text, but got {type(counts).__name__}")
    if runs.size and int(runs.min()) < 0:
        raise ValueError(f"expected run lengths of at least 0, but got {int(runs.min())}")
    num_pixels = size[0] * size[1]
    total = int(runs.sum())
    if total != num_pixels:
        raise ValueError(f"expected runs of {num_pixels} pixels in all, but got {total}")
    return runs


def runs_of_codes(rles: Sequence[Any], size: tuple[int, int]) -> tuple[Ints, Ints]:
    """`rle_runs` of N codes; compressed ones are decoded all at once.

    Args:
        rles: see `rle_runs`.
        size: the expected height and width of each.

    Returns:
        (R,) the run lengths of all codes, one after the other, and (N,) how many each code has.

    Raises:
        ValueError: see `rle_runs`; the message begins with the position of the code.

    Example:
        >>> runs, num_runs = runs_of_codes([{"size": [2, 2], "counts": "13"}] * 2, (2, 2))
        >>> runs.tolist(), num_runs.tolist()
        ([1, 3, 1, 3], [2, 2])
    """
    together = _decode_together(rles, size)
    if together is not None:
        return together
    runs = []
    for index, rle in enumerate(rles):
        try:
            runs.append(rle_runs(rle, size))
        except ValueError as error:
            raise ValueError(f"{index}: {error}") from error
    return np.concatenate([np.zeros(0, np.int64), *runs]), np.array([len(row) for row in runs])


def _decode_together(rles: Sequence[Any], size: tuple[int, int]) -> tuple[Ints, Ints] | None:
    """`runs_of_codes` of valid compressed codes; None if one is invalid, or a list of lengths."""
    texts = []
    for rle in rles:
        if not isinstance(rle, dict) or not _is_size(rle.get("size"), size):
            return None
        text = rle.get("counts")
        if not isinstance(text, str | bytes):
            return None
        texts.append(_encoded(text))
    try:
        runs, num_runs = _decompress(texts)
    except ValueError:
        return None
    if not num_runs.all():
        return None
    first = np.cumsum(num_runs) - num_runs
    totals = np.add.reduceat(runs, first) if len(first) else runs
    is_whole = bool((totals == size[0] * size[1]).all()) and not (runs < 0).any()
    return (runs, num_runs) if is_whole else None


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
    if not _is_size(found, size):
        raise ValueError(f"expected size {list(size)}, but got {str(found)[:40]}")


def _is_size(found: Any, size: tuple[int, int]) -> bool:
    is_pair = isinstance(found, (list, tuple)) and set(map(type, found)) == {int}
    return is_pair and tuple(found) == tuple(size)


def _listed_runs(counts: list[Any]) -> Ints:
    """Run lengths (R,) from a list."""
    if not set(map(type, counts)) <= {int}:
        raise ValueError("expected counts of whole numbers, but got other values")
    try:
        return _bounded(np.array(counts, np.int64))
    except OverflowError as error:
        raise ValueError("expected counts of pixels, but one is beyond 2**63") from error


def _encoded(text: str | bytes) -> bytes:
    return text.encode(errors="surrogatepass") if isinstance(text, str) else text


def _decompressed(text: bytes) -> Ints:
    """`_decompress` of one code: a short one is read in a loop, which takes a tenth of the time."""
    runs = _short_runs(text) if len(text) <= SHORT_TEXT else None
    return _decompress([text])[0] if runs is None else np.array(runs, np.int64)


def _short_runs(text: bytes) -> list[int] | None:
    """The run lengths of a code; None if it is invalid, or has a number of many characters."""
    runs: list[int] = []
    number = 0
    num_bits = 0
    for character in text:
        code = character - FIRST_CHARACTER
        if not 0 <= code < SIX_BITS or num_bits == MAX_SHORT_BITS:
            return None
        number |= (code & 31) << num_bits
        num_bits += 5
        if code >= 32:
            continue
        if code & 16:
            number -= 1 << num_bits
        if len(runs) > 2:
            number += runs[-2]
        runs.append(number)
        number = 0
        num_bits = 0
    return None if num_bits else runs


def _decompress(texts: Sequence[bytes]) -> tuple[Ints, Ints]:
    """Run lengths (R,) of N compressed codes, one after the other, and how many each has, (N,).

    Each character has five bits of a number; the sixth says that the number continues, the fifth of
    its last character is its sign. From the fourth number on, the code contains differences to
    the last but one (rleToString in COCO's maskApi.c).
    """
    num_bytes = np.array([len(text) for text in texts], np.int64)
    codes = np.frombuffer(b"".join(texts), np.uint8).astype(np.int64) - FIRST_CHARACTER
    if not codes.size:
        return codes, np.zeros_like(num_bytes)
    if int(codes.min()) < 0 or int(codes.max()) >= SIX_BITS:
        raise ValueError("expected a run-length code, but it has characters beyond '0' to 'o'")
    behind = num_bytes.cumsum()  # where each code ends
    is_last = codes < 32
    if not is_last[behind[num_bytes > 0] - 1].all():
        raise ValueError("expected a whole run-length code, but it ends within a number")
    ends = np.flatnonzero(is_last)
    starts = np.zeros_like(ends)
    starts[1:] = ends[:-1] + 1
    num_characters = ends - starts + 1
    if int(num_characters.max()) > MAX_CHARACTERS:
        raise ValueError(f"expected numbers of {MAX_CHARACTERS} characters, but one is longer")
    digit = np.arange(codes.size) - np.repeat(starts, num_characters)
    numbers = np.add.reduceat((codes & 31) << (5 * digit), starts)
    isnegative = codes[ends] >> 4  # 0 or 1: the number's last character is below 32
    numbers -= isnegative << (5 * num_characters)
    num_runs = np.diff(np.searchsorted(ends, behind), prepend=0)
    first = num_runs.cumsum() - num_runs
    position = np.arange(len(numbers)) - np.repeat(first, num_runs)
    for parity in (1, 0):
        _add_up_differences(numbers, position, np.flatnonzero((position & 1) == parity))
    return _bounded(numbers), num_runs


def _add_up_differences(numbers: Ints, position: Ints, chosen: Ints) -> None:
    """Replace every second number of each code by the sum of those up to it, but for the first."""
    chosen = chosen[position[chosen] > 0]
    sums = numbers[chosen].cumsum()
    starts = np.flatnonzero(position[chosen] <= 2)  # of the codes
    before = sums[starts] - numbers[chosen[starts]]
    numbers[chosen] = sums - np.repeat(before, np.diff(starts, append=len(chosen)))


def _bounded(runs: Ints) -> Ints:
    """The same run lengths, none longer than 32 bits: their sum cannot overflow."""
    if runs.size and int(np.abs(runs).max()) >= 2**32:
        raise ValueError("expected runs of pixels of the image, but one is longer than 32 bits")
    return runs
