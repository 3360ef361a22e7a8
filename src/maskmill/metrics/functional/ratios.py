"""Ratios and averages over the classes that occur: what all scores have in common."""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Numbers = npt.NDArray[Any]


def ratio(numerator: Numbers, denominator: Numbers) -> Floats:
    """Numerator over denominator, element by element; NaN where the denominator is not above 0.

    Args:
        numerator: (...) integers or floats.
        denominator: (...) of a shape that broadcasts with it.

    Returns:
        (...) float64.

    Example:
        >>> ratio(np.array([3, 0]), np.array([4, 0])).tolist()
        [0.75, nan]
    """
    shape = np.broadcast_shapes(numerator.shape, denominator.shape)
    quotient = np.full(shape, np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient


def sum_over_classes(values: Floats) -> Floats:
    """The sum over the classes that have a value, (..., K) -> (...); NaN marks those without.

    A single row is summed without its NaN entries and rows of a batch with zeros in their place:
    the two orders of addition can differ in the last bit. The first is that of published scores,
    the second that of resamples, of which there are thousands.
    """
    present = ~np.isnan(values)
    if values.ndim == 1:
        return np.asarray(values[present].sum())
    total: Floats = np.where(present, values, 0).sum(axis=-1)
    return total


def mean_over_classes(values: Floats) -> Floats:
    """The mean over the classes that have a value, (..., K) -> (...); NaN where no class has one.

    Example:
        >>> float(mean_over_classes(np.array([0.5, np.nan, 1.0])))
        0.75
    """
    num_present = (~np.isnan(values)).sum(axis=-1)
    return ratio(sum_over_classes(values), num_present)


def group_means(values: Floats, occurs: Bools, groups: Bools) -> Floats:
    """The means over the classes of each group that occur.

    A single table is reduced to the classes that occur, and those of a batch have zeros in the
    other rows, for the reason given in `sum_over_classes`.

    Args:
        values: (..., K, M), M values of each class.
        occurs: (..., K).
        groups: (G, K) the classes of each group.

    Returns:
        (..., G, M), NaN for a group of which no class occurs.
    """
    if values.ndim == 2:
        present = values[occurs]
        counted = groups[:, occurs]
    else:
        present = np.where(occurs[..., None], values, 0.0)
        counted = groups & occurs[..., None, :]  # (..., G, K)
    sums = counted.astype(np.float64) @ present
    return ratio(sums, counted.sum(axis=-1)[..., None])
