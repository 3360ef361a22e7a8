"""One operation for tensors and NumPy arrays: inference works on what the network gives.

So it needs torch for networks in torch only.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Either = Any  # a tensor on any device, or an array; all arguments of a call are of one kind


def flip(value: Either, axes: tuple[int, ...]) -> Either:
    """The value with the order along some axes reversed."""
    if isinstance(value, np.ndarray):
        return np.ascontiguousarray(np.flip(value, axes))
    return value.flip(axes)


def as_float32(value: Either) -> Either:
    """The value in float32."""
    return value.astype(np.float32) if isinstance(value, np.ndarray) else value.float()


def zeros(shape: Sequence[int], example: Either) -> Either:
    """Zeros in float32, where the example is."""
    if isinstance(example, np.ndarray):
        return np.zeros(shape, np.float32)
    import torch

    return example.new_zeros(shape, dtype=torch.float32)


def at(array: npt.NDArray[Any], example: Either) -> Either:
    """An array as a value of the example's kind, where the example is."""
    if isinstance(example, np.ndarray):
        return array
    import torch

    return torch.from_numpy(array).to(example.device)


def concatenate(values: Sequence[Either], axis: int) -> Either:
    """The values one after another."""
    if isinstance(values[0], np.ndarray):
        return np.concatenate(values, axis)
    import torch

    return torch.cat(list(values), axis)


def add_product(total: Either, value: Either, weight: Either) -> None:
    """Add value * weight to the total in place."""
    if isinstance(total, np.ndarray):
        total += value * weight
    else:
        total.addcmul_(value, weight)


def as_array(value: Either) -> npt.NDArray[Any]:
    """The value in the memory of this process, as an array."""
    return value if isinstance(value, np.ndarray) else np.asarray(value.cpu())
