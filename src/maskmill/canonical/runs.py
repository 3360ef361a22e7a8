"""Run-length counting: segment maps are constant along rows, so count runs instead of pixels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

IntMap = npt.NDArray[np.integer]
Ints = npt.NDArray[np.int64]

DIRECT_CODES = (
    2**16
)  # pairs of values that a table in the cache can count, whether they occur or not
# Bits of a slot, and factors that are odd and whose bits spread (Knuth, TAOCP 3, sec. 6.4). The first table stays in the cache and is
# enough for a hundred values.
HASHES = ((14, 0x9E3779B97F4A7C15), (16, 0xC2B2AE3D27D4EB4F), (16, 0xD6E8FEB86659FD93))
BLOCK = 2**18  # flags


@dataclass(frozen=True)
class Overlaps:
    """How many pixels every pair of values of two maps shares.

    `first` (U,) and `second` (V,) are the values that occur, ascending. Of each pair that occurs, `rows` (P,) is the place in `first`,
    `columns` (P,) in `second`, and `pixels` (P,) their number; by row, then column.
    """

    first: Ints
    second: Ints
    rows: Ints
    columns: Ints
    pixels: Ints


def run_starts(*maps: IntMap) -> Ints:
    """Flat positions where a new run begins: where any of the equally sized maps changes.

    Args:
        maps: integer arrays of one shape, read in C order; at least one, not empty.

    Returns:
        (R,) ascending, beginning with 0.
    """
    return starts_of_rows(*(np.ascontiguousarray(array).reshape(-1, 1) for array in maps))


def starts_of_rows(*tables: IntMap) -> Ints:
    """`run_starts` of pixels that consist of several numbers: contiguous (N, C) integer arrays of one shape, C one or two."""
    size, width = tables[0].shape
    flags = np.empty(
        min(BLOCK, -(-size // 8) * 8), bool
    )  # of a block at a time: it stays in the cache from one pass to the next
    differs = np.empty((len(flags), width), bool)
    starts = []
    for first in range(0, size, BLOCK):
        last = min(first + BLOCK, size)
        change = flags[: -(-(last - first) // 8) * 8]  # eight flags are a word, see `_true_places`
        change[:] = False
        change[0] = first == 0
        begin = max(first, 1)
        for table in tables:
            differ = np.not_equal(
                table[begin:last], table[begin - 1 : last - 1], out=differs[: last - begin]
            )
            change[begin - first : last - first] |= (
                differ[:, 0] if width == 1 else differ.view(np.uint16)[:, 0] != 0
            )  # two flags are a word
        places = _true_places(change)
        places += first
        starts.append(places)
    return np.concatenate(starts)


def _true_places(flags: npt.NDArray[np.bool_]) -> Ints:
    """`flags.nonzero()[0]` of a multiple of eight flags, few of them set: looks at eight at once, then into the words that have one."""
    words = flags.view(np.uint64)
    occupied = (words != 0).nonzero()[0]
    places: Ints = (
        words.take(occupied).view(np.bool_).nonzero()[0]
    )  # among the flags of the occupied words
    skipped = (occupied - np.arange(len(occupied))) * 8
    places += skipped.take(places >> 3)
    return places


def run_lengths(starts: Ints, num_pixels: int) -> Ints:
    """Length of each run in pixels, from its start and the size of the map."""
    lengths = np.empty_like(starts)
    np.subtract(starts[1:], starts[:-1], out=lengths[:-1])
    lengths[-1] = num_pixels - starts[-1]
    return lengths


def overlaps(first: IntMap, second: IntMap) -> Overlaps:
    """Count the pixels of every pair of values two maps have in common.

    Args:
        first: (H, W) integers.
        second: (H, W), likewise.

    Returns:
        the pairs.
    """
    starts = run_starts(first, second)
    left, right = (
        np.ascontiguousarray(array).reshape(-1).take(starts) for array in (first, second)
    )
    return overlaps_of_runs(left, right, run_lengths(starts, first.size))


def overlaps_of_runs(left: IntMap, right: IntMap, lengths: Ints) -> Overlaps:
    """`overlaps` of maps given as their runs: the values in `first` and `second` and the length of each, (R,)."""
    (left_low, left_high), (right_low, right_high) = (
        (int(values.min()), int(values.max())) for values in (left, right)
    )
    num_left, num_right = left_high - left_low + 1, right_high - right_low + 1
    if num_left * num_right > DIRECT_CODES:
        left_values, left_places = _dense(left)
        right_values, right_places = _dense(right)
        return _count(
            left_values, right_values, left_places * len(right_values) + right_places, lengths
        )
    codes = left.astype(np.int64)
    codes -= left_low
    codes *= num_right
    codes += right.astype(np.int64)
    codes -= right_low
    counted = _count(
        np.arange(left_low, left_high + 1), np.arange(right_low, right_high + 1), codes, lengths
    )
    return _without_gaps(counted)


def joint_histogram(first: IntMap, second: IntMap) -> tuple[Ints, Ints, Ints]:
    """`overlaps` as three (P,) arrays: the values in `first`, those in `second`, and the pixels they share; by first, then second."""
    found = overlaps(first, second)
    return found.first[found.rows], found.second[found.columns], found.pixels


def _dense(values: IntMap) -> tuple[Ints, Ints]:
    """The values that occur, ascending, and the place of each among them: np.unique by a hash table in place of a sort.

    A value's slot in the table is written by all its occurrences, and the last one stays. Where every value then finds itself in its
    slot, no two share one.
    """
    numbers = np.arange(len(values))
    word: Any = np.uint64 if values.itemsize == 8 else np.uint32
    words = values.astype(word)
    for bits, factor in HASHES:
        slots = (
            words * word(factor & np.iinfo(word).max) >> word(8 * words.itemsize - bits)
        ).astype(np.int64)
        table = np.full(2**bits, -1)
        table[slots] = numbers
        occupied = (table >= 0).nonzero()[0]
        found = values.take(table.take(occupied))
        kept = np.empty(len(table), values.dtype)
        kept[occupied] = found
        if (kept.take(slots) == values).all():
            order = found.argsort()
            table[occupied[order]] = numbers[: len(found)]
            return found[order].astype(np.int64), table.take(slots)
    found, places = np.unique(values, return_inverse=True)  # many values
    return found.astype(np.int64), places


def _count(first: Ints, second: Ints, codes: IntMap, lengths: Ints) -> Overlaps:
    """The pairs of runs, whose codes are place in `first` times the size of `second`, plus place in `second`."""
    if len(first) * len(second) > max(DIRECT_CODES, len(lengths)):  # most pairs cannot occur
        codes, inverse = np.unique(codes, return_inverse=True)
        pixels = np.bincount(inverse, weights=lengths)
    else:
        pixels = np.bincount(codes, weights=lengths)  # float64 is exact below 2**53 pixels
        codes = pixels.nonzero()[0]
        pixels = pixels[codes]
    rows, columns = np.divmod(codes, len(second))
    return Overlaps(first, second, rows, columns, pixels.astype(np.int64))


def _without_gaps(counted: Overlaps) -> Overlaps:
    """Drop the values that do not occur."""
    sides = []
    for values, places in ((counted.first, counted.rows), (counted.second, counted.columns)):
        occurs = np.zeros(len(values), bool)
        occurs[places] = True
        sides.append((values[occurs], (np.cumsum(occurs) - 1)[places]))
    (first, rows), (second, columns) = sides
    return Overlaps(first, second, rows, columns, counted.pixels)


def relabel(ids: IntMap, table: Mapping[int, int], *, default: int) -> npt.NDArray[np.int32]:
    """Replace every value by `table[value]`, and values without an entry by `default`.

    Args:
        ids: (H, W) integers.
        table: old value -> new value.
        default: what values missing from `table` become.

    Returns:
        (H, W) int32.
    """
    if ids.size == 0:
        return ids.astype(np.int32)
    starts = run_starts(ids)
    values, places = _dense(np.ascontiguousarray(ids).reshape(-1).take(starts))
    new = np.array([table.get(value, default) for value in values.tolist()], dtype=np.int32)
    return np.repeat(new[places], run_lengths(starts, ids.size)).reshape(ids.shape)
