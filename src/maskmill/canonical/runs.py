"""Run-length counting: segment maps are constant along rows, so count runs instead of pixels."""

import numpy as np
import numpy.typing as npt

IntMap = npt.NDArray[np.integer]


def run_starts(*maps: IntMap) -> npt.NDArray[np.int64]:
    """Flat positions where a new run begins: where any of the equally sized maps changes.

    Args:
        maps: integer arrays of one shape, read in C order; at least one, not empty.

    Returns:
        (R,) ascending, beginning with 0.
    """
    first, *others = (np.ascontiguousarray(array).reshape(-1) for array in maps)
    change = first[1:] != first[:-1]
    for flat in others:
        change |= flat[1:] != flat[:-1]
    return np.concatenate([[0], np.flatnonzero(change) + 1])


def run_lengths(starts: npt.NDArray[np.int64], num_pixels: int) -> npt.NDArray[np.int64]:
    """Length of each run in pixels, from its start and the size of the map."""
    return np.diff(starts, append=num_pixels)


def joint_histogram(first: IntMap, second: IntMap) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Count the pixels of every pair of values two maps have in common.

    Args:
        first: (H, W) non-negative, below 2**31.
        second: (H, W) non-negative, below 2**31.

    Returns:
        the values in `first`, those in `second`, and the pixels they share: three (P,) arrays, sorted by first, then second.
    """
    starts = run_starts(first, second)
    lengths = run_lengths(starts, first.size)
    codes = (first.reshape(-1)[starts].astype(np.int64) << 32) | second.reshape(-1)[starts].astype(np.int64)
    pairs, inverse = np.unique(codes, return_inverse=True)
    counts = np.bincount(inverse, weights=lengths).astype(np.int64)  # float64 is exact below 2**53 pixels
    return pairs >> 32, pairs & 0xFFFFFFFF, counts


def relabel(ids: IntMap, table: dict[int, int], *, default: int) -> npt.NDArray[np.int32]:
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
    values, inverse = np.unique(ids.reshape(-1)[starts], return_inverse=True)
    new = np.array([table.get(int(value), default) for value in values], dtype=np.int32)
    return np.repeat(new[inverse], run_lengths(starts, ids.size)).reshape(ids.shape)
