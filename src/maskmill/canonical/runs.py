"""Run-length counting: segment maps are constant along rows, so count runs instead of pixels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

IntMap = npt.NDArray[np.integer]
Ints = npt.NDArray[np.int64]

# Pairs of values that a table in the cache can count, whether they occur or not.
DIRECT_CODES = 2**16
# Bits of a slot, and an odd factor that spreads the bits of its argument (multiplicative hashing:
# Knuth, TAOCP 3, sec. 6.4). The first table stays in the cache and is enough for 100 values.
HASHES = (
    (14, 0x9E3779B97F4A7C15),
    (16, 0xC2B2AE3D27D4EB4F),
    (16, 0xD6E8FEB86659FD93),
)
BLOCK = 2**18  # pixels compared at a time, so that their flags stay in the cache
FLAGS_PER_WORD = 8  # bool flags that fit a uint64


@dataclass(frozen=True)
class Overlaps:
    """How many pixels each pair of values of two maps has in common.

    Args:
        first: (U,) the values that occur in the first map, ascending.
        second: (V,) the values that occur in the second map, ascending.
        rows: (N,) for each pair that occurs, the index of its value in `first`.
        columns: (N,) the index of its value in `second`; pairs are sorted by row, then by column.
        pixels: (N,) the number of pixels of each pair.
    """

    first: Ints
    second: Ints
    rows: Ints
    columns: Ints
    pixels: Ints


def run_starts(*maps: IntMap) -> Ints:
    """Flat positions where a run begins: where any of the maps changes.

    Args:
        maps: integer arrays of one shape, read in C order; at least one, not empty.

    Returns:
        (R,) ascending; the first is 0.
    """
    columns = [np.ascontiguousarray(array).reshape(-1, 1) for array in maps]
    return starts_of_rows(*columns)


def starts_of_rows(*tables: IntMap) -> Ints:
    """`run_starts` of pixels that consist of one or two integers.

    Args:
        tables: contiguous integer arrays (pixels, C) of one shape, C is 1 or 2.

    Returns:
        (R,) ascending; the first is 0.

    Raises:
        ValueError: the tables have no pixel, or are not integers.
    """
    require_integers(*tables)
    # The loop below is, block by block and without temporary arrays:
    #   changes = any(table[1:] != table[:-1] for table in tables)
    #   starts = [0, *(flatnonzero(changes) + 1)]
    num_pixels, width = tables[0].shape
    if not num_pixels:
        raise ValueError("Expected a map with pixels, but got an empty one - leave this image out")
    flags = np.empty(min(BLOCK, _whole_words(num_pixels)), bool)
    differs = np.empty((len(flags), width), bool)
    starts = []
    for first in range(0, num_pixels, BLOCK):
        last = min(first + BLOCK, num_pixels)
        change = flags[: _whole_words(last - first)]
        change[:] = False
        change[0] = first == 0
        begin = max(first, 1)
        for table in tables:
            current = table[begin:last]
            previous = table[begin - 1 : last - 1]
            differ = np.not_equal(current, previous, out=differs[: last - begin])
            # With two columns, the two flags of a pixel are one uint16.
            pixel_differs = differ[:, 0] if width == 1 else differ.view(np.uint16)[:, 0] != 0
            change[begin - first : last - first] |= pixel_differs
        positions = _true_positions(change)
        positions += first
        starts.append(positions)
    return np.concatenate(starts)


def require_integers(*maps: npt.NDArray[Any]) -> None:
    """Refuse maps of ids that are not whole numbers, which rounding would change silently.

    Raises:
        ValueError: a map has another type than bool, signed or unsigned integers.
    """
    for array in maps:
        if array.dtype.kind not in "biu":
            raise ValueError(
                f"Expected a map of integers, but got {array.dtype} - "
                "round it and convert it to int32"
            )


def _whole_words(num_flags: int) -> int:
    """`num_flags` rounded up to a multiple of `FLAGS_PER_WORD`."""
    return -(-num_flags // FLAGS_PER_WORD) * FLAGS_PER_WORD


def _true_positions(flags: npt.NDArray[np.bool_]) -> Ints:
    """`flags.nonzero()[0]`, faster where few flags are set; their number is a multiple of eight.

    It looks at words of eight flags first, and then only into the words that are not zero.
    """
    words = flags.view(np.uint64)
    occupied = (words != 0).nonzero()[0]
    # Positions among the flags of the occupied words ...
    positions: Ints = words.take(occupied).view(np.bool_).nonzero()[0]
    # ... plus the number of flags in the empty words before each.
    skipped = (occupied - np.arange(len(occupied))) * FLAGS_PER_WORD
    positions += skipped.take(positions >> 3)
    return positions


def run_lengths(starts: Ints, num_pixels: int) -> Ints:
    """Length of each run in pixels, from its start and the size of the map."""
    lengths = np.empty_like(starts)
    np.subtract(starts[1:], starts[:-1], out=lengths[:-1])
    lengths[-1] = num_pixels - starts[-1]
    return lengths


def overlaps(first: IntMap, second: IntMap) -> Overlaps:
    """Count the pixels that each pair of values of two maps has in common.

    Args:
        first: (H, W) integers.
        second: (H, W) integers.

    Returns:
        the pairs of values and their pixels.
    """
    starts = run_starts(first, second)
    first_values = np.ascontiguousarray(first).reshape(-1).take(starts)
    second_values = np.ascontiguousarray(second).reshape(-1).take(starts)
    return overlaps_of_runs(first_values, second_values, run_lengths(starts, first.size))


def overlaps_of_runs(first: IntMap, second: IntMap, lengths: Ints) -> Overlaps:
    """`overlaps` of two maps that are given as their runs.

    Args:
        first: (R,) value of the first map in each run.
        second: (R,) value of the second map in each run.
        lengths: (R,) pixels of each run.

    Returns:
        the pairs of values and their pixels.
    """
    first_low = int(first.min())
    first_high = int(first.max())
    second_low = int(second.min())
    second_high = int(second.max())
    num_second = second_high - second_low + 1
    if (first_high - first_low + 1) * num_second > DIRECT_CODES:
        first_values, first_index = _unique(first)
        second_values, second_index = _unique(second)
        codes = first_index * len(second_values) + second_index
        return _count(first_values, second_values, codes, lengths)
    # Few values: those between lowest and highest that do not occur cost less than finding them.
    codes = first.astype(np.int64)
    codes -= first_low
    codes *= num_second
    codes += second.astype(np.int64)
    codes -= second_low
    first_values = np.arange(first_low, first_high + 1)
    second_values = np.arange(second_low, second_high + 1)
    return _without_absent_values(_count(first_values, second_values, codes, lengths))


def joint_histogram(first: IntMap, second: IntMap) -> tuple[Ints, Ints, Ints]:
    """`overlaps` as three arrays, sorted by the value in `first`, then by that in `second`.

    Args:
        first: (H, W) integers.
        second: (H, W) integers.

    Returns:
        (N,) values in `first`, (N,) values in `second`, (N,) pixels that they have in common.

    Example:
        >>> values, others, pixels = joint_histogram(np.array([[1, 1, 2]]), np.array([[5, 6, 6]]))
        >>> values.tolist(), others.tolist(), pixels.tolist()
        ([1, 1, 2], [5, 6, 6], [1, 1, 1])
    """
    pairs = overlaps(first, second)
    return pairs.first[pairs.rows], pairs.second[pairs.columns], pairs.pixels


def _unique(values: IntMap) -> tuple[Ints, Ints]:
    """`np.unique(values, return_inverse=True)` by a hash table instead of a sort.

    Every occurrence of a value writes its position to the value's slot of the table, and the last
    one remains. If every value then finds itself in its slot, no two values share a slot.
    """
    positions = np.arange(len(values))
    word: Any = np.uint64 if values.itemsize == 8 else np.uint32
    words = values.astype(word)
    num_bits = 8 * words.itemsize
    for slot_bits, factor in HASHES:
        product = words * word(factor & np.iinfo(word).max)
        slots = (product >> word(num_bits - slot_bits)).astype(np.int64)
        table = np.full(2**slot_bits, -1)
        table[slots] = positions
        occupied = (table >= 0).nonzero()[0]
        candidates = values.take(table.take(occupied))
        value_of_slot = np.empty(len(table), values.dtype)
        value_of_slot[occupied] = candidates
        if (value_of_slot.take(slots) == values).all():
            order = candidates.argsort()
            table[occupied[order]] = positions[: len(candidates)]
            return candidates[order].astype(np.int64), table.take(slots)
    distinct, index = np.unique(values, return_inverse=True)  # too many values for the tables
    return distinct.astype(np.int64), index


def _count(first: Ints, second: Ints, codes: IntMap, lengths: Ints) -> Overlaps:
    """Add up the lengths of runs with the same code.

    Args:
        first: (U,) values of the first map.
        second: (V,) values of the second map.
        codes: (R,) of each run: index in `first` * V + index in `second`.
        lengths: (R,) pixels of each run.
    """
    num_codes = len(first) * len(second)
    if num_codes > max(DIRECT_CODES, len(lengths)):  # most pairs cannot occur
        codes, inverse = np.unique(codes, return_inverse=True)
        pixels = np.bincount(inverse, weights=lengths)
    else:
        pixels = np.bincount(codes, weights=lengths)  # float64 is exact below 2**53 pixels
        codes = pixels.nonzero()[0]
        pixels = pixels[codes]
    rows, columns = np.divmod(codes, len(second))
    return Overlaps(first, second, rows, columns, pixels.astype(np.int64))


def _without_absent_values(pairs: Overlaps) -> Overlaps:
    first, rows = _drop_absent(pairs.first, pairs.rows)
    second, columns = _drop_absent(pairs.second, pairs.columns)
    return Overlaps(first, second, rows, columns, pairs.pixels)


def _drop_absent(values: Ints, index: Ints) -> tuple[Ints, Ints]:
    """The values that `index` refers to, and `index` into these."""
    occurs = np.zeros(len(values), bool)
    occurs[index] = True
    new_index = np.cumsum(occurs) - 1
    return values[occurs], new_index[index]


def relabel(ids: IntMap, table: Mapping[int, int], *, default: int) -> npt.NDArray[np.int32]:
    """Replace every value by `table[value]`, and values without an entry by `default`.

    Args:
        ids: (H, W) integers.
        table: old value -> new value.
        default: the new value of those that `table` lacks.

    Returns:
        (H, W) int32.

    Example:
        >>> relabel(np.array([[0, 7, 7, 3]]), {7: 1}, default=-1)
        array([[-1,  1,  1, -1]], dtype=int32)
    """
    if ids.size == 0:
        return ids.astype(np.int32)
    starts = run_starts(ids)
    values, index = _unique(np.ascontiguousarray(ids).reshape(-1).take(starts))
    new_values = [table.get(value, default) for value in values.tolist()]
    new = np.array(new_values, dtype=np.int32)
    return np.repeat(new[index], run_lengths(starts, ids.size)).reshape(ids.shape)
