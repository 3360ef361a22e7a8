"""Overlaps of segments given as tensors [category, instance], counted on the tensors' device."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maskmill.canonical.categories import IGNORE_INDEX, Categories
from maskmill.canonical.panoptic import VOID_CATEGORY, VOID_ID
from maskmill.canonical.runs import (
    Overlaps,
    overlaps,
    overlaps_of_runs,
    run_lengths,
    starts_of_rows,
)

Ints = npt.NDArray[np.int64]
INSTANCES = 2**32  # instance ids lie below
KEY_FACTORS = np.array([INSTANCES, 1], np.int64)  # key = category * INSTANCES + instance


@dataclass(frozen=True)
class SegmentOverlaps:
    """The arguments of `match_overlaps` for one image."""

    shared: Overlaps
    pred_index: dict[int, int]
    target_index: dict[int, int]


def segment_overlaps(
    pred: Tensor, target: Tensor, categories: Categories
) -> Iterator[SegmentOverlaps]:
    """The pixels that pairs of segments share, image by image.

    A pixel is a category id and an instance id. Things are told apart by the instance id; that of
    stuff has no meaning. The categories -1, and 255 where no category has this id, are void.
    Tensors on the CPU are counted by NumPy, others on their device, which only the few pairs leave.

    Args:
        pred: (B, H, W, 2) integers.
        target: (B, H, W, 2) integers.
        categories: the data set's table.

    Yields:
        the overlaps of target and prediction, and the class indices of their segments.

    Raises:
        ValueError: the shapes differ or do not end with 2, the tensors are not integers, or a
            category or instance id is not valid.
    """
    if pred.shape != target.shape or pred.ndim != 4 or pred.shape[-1] != 2:
        raise ValueError(
            f"Expected pixels [category, instance] of one shape (B, H, W, 2), but got "
            f"{tuple(pred.shape)} and {tuple(target.shape)} - stack class and instance-id masks"
        )
    require_integer_tensors(pred, target)
    for pred_image, target_image in zip(pred, target, strict=True):
        if pred.is_cpu:
            keys = _numpy_overlaps(_as_pixels(target_image), _as_pixels(pred_image))
        else:
            keys = device_overlaps(_as_keys(target_image), _as_keys(pred_image))
        yield _as_segments(keys, categories)


def require_integer_tensors(*tensors: Tensor) -> None:
    """Refuse tensors of ids that are not whole numbers, which rounding would change silently.

    Raises:
        ValueError: a tensor is of floating-point or complex numbers.
    """
    for tensor in tensors:
        if tensor.is_floating_point() or tensor.is_complex():
            raise ValueError(
                f"Expected a tensor of integers, but got {tensor.dtype} - "
                "take the argmax of logits, or round ids and convert them"
            )


def _as_pixels(image: Tensor) -> npt.NDArray[np.integer]:
    """(H, W, 2) -> (N, 2), contiguous."""
    pixels: npt.NDArray[np.integer] = image.reshape(-1, 2).contiguous().numpy()
    return pixels


def _as_keys(image: Tensor) -> Tensor:
    """(H, W, 2) -> (H, W), a number per pair of category and instance id."""
    return image[..., 0].to(torch.int64) * INSTANCES + image[..., 1]


def _numpy_overlaps(first: npt.NDArray[np.integer], second: npt.NDArray[np.integer]) -> Overlaps:
    """The overlaps of pixels (N, 2); keys are computed only for the first pixel of each run."""
    starts = starts_of_rows(first, second)
    first_keys = first[starts] @ KEY_FACTORS
    second_keys = second[starts] @ KEY_FACTORS
    return overlaps_of_runs(first_keys, second_keys, run_lengths(starts, len(first)))


def device_overlaps(first: Tensor, second: Tensor) -> Overlaps:
    """`overlaps` in torch: runs and their histogram on the device, in whole numbers.

    Args:
        first: (...) integers.
        second: (...) integers, same shape.
    """
    first = first.reshape(-1)
    second = second.reshape(-1)
    changes = torch.ones(len(first), dtype=torch.bool, device=first.device)
    changes[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    starts = changes.nonzero()[:, 0]  # (R,)
    lengths = torch.diff(starts, append=starts.new_tensor([len(first)]))
    first_values, rows = first[starts].unique(return_inverse=True)
    second_values, columns = second[starts].unique(return_inverse=True)
    codes, pair_of_run = (rows * len(second_values) + columns).unique(return_inverse=True)
    pixels = torch.zeros_like(codes).index_add_(0, pair_of_run, lengths)
    pair_rows, pair_columns = np.divmod(codes.cpu().numpy(), len(second_values))
    return Overlaps(
        first_values.cpu().numpy(),
        second_values.cpu().numpy(),
        pair_rows,
        pair_columns,
        pixels.cpu().numpy(),
    )


def _as_segments(keys: Overlaps, categories: Categories) -> SegmentOverlaps:
    """From keys to segments 1..N: a stuff class is one segment, and void is segment 0."""
    target = _Numbering.from_keys(keys.first, categories)
    pred = _Numbering.from_keys(keys.second, categories)
    target_ids, rows = np.unique(target.ids[keys.rows], return_inverse=True)
    pred_ids, columns = np.unique(pred.ids[keys.columns], return_inverse=True)
    codes, pair_of_keys = np.unique(rows * len(pred_ids) + columns, return_inverse=True)
    pixels = np.bincount(pair_of_keys, keys.pixels).astype(np.int64)
    pair_rows, pair_columns = np.divmod(codes, len(pred_ids))
    shared = Overlaps(target_ids, pred_ids, pair_rows, pair_columns, pixels)
    return SegmentOverlaps(shared, pred.index, target.index)


@dataclass(frozen=True)
class _Numbering:
    """The segment of each key, and the class index of each segment."""

    ids: Ints
    index: dict[int, int]

    @classmethod
    def from_keys(cls, keys: Ints, categories: Categories) -> "_Numbering":
        """Number the segments in the order of their keys.

        Raises:
            ValueError: a key has no category of the table.
        """
        category_ids, instances = np.divmod(keys, INSTANCES)
        void = {VOID_CATEGORY, IGNORE_INDEX} - categories.index.keys()
        unknown = sorted(set(category_ids.tolist()) - categories.index.keys() - void)
        if unknown:
            raise ValueError(
                "Expected category ids of the table and instance ids in "
                f"0..{INSTANCES - 1}, but got the category {unknown[:5]} - "
                "either correct the tensor or mark unlabelled pixels with -1"
            )
        id_of: dict[tuple[int, int], int] = {}
        ids = np.full(len(keys), VOID_ID, np.int64)
        pairs = zip(category_ids.tolist(), instances.tolist(), strict=True)
        for position, (category_id, instance) in enumerate(pairs):
            if category_id not in void:
                segment = (category_id, instance if categories[category_id].isthing else 0)
                ids[position] = id_of.setdefault(segment, len(id_of) + 1)
        index = {key: categories.index[category_id] for (category_id, _), key in id_of.items()}
        return cls(ids, index)


def tensor_confusion(pred: Tensor, target: Tensor, categories: Categories) -> Tensor:
    """`confusion_matrix` of a batch of tensors, counted on their device.

    Args:
        pred: (B, H, W) category ids; -1, and 255 where no category has this id, where nothing was
            predicted.
        target: (B, H, W) category ids; -1, and 255 where no category has this id, where unlabelled.
        categories: gives the order of rows and columns.

    Returns:
        (K + 1, K + 1) int64 on their device: target in rows, the last row and column of void.

    Raises:
        ValueError: the shapes differ, the tensors are not integers, or an id is not in the table.
    """
    require_integer_tensors(pred, target)
    if pred.shape != target.shape:
        raise ValueError(
            f"Expected predictions of the target's shape {tuple(target.shape)}, "
            f"but got {tuple(pred.shape)} - predict at the target's size"
        )
    size = categories.num_classes + 1
    if not pred.numel():  # a batch without images
        return torch.zeros(size, size, dtype=torch.int64, device=pred.device)
    row_of = dict.fromkeys((VOID_CATEGORY, IGNORE_INDEX), size - 1) | categories.index
    if pred.is_cpu:
        shared = overlaps(target.numpy(), pred.numpy())
        rows = _matrix_rows(torch.from_numpy(shared.first), row_of)[torch.from_numpy(shared.rows)]
        column_of_value = _matrix_rows(torch.from_numpy(shared.second), row_of)
        columns = column_of_value[torch.from_numpy(shared.columns)]
        pixels = torch.from_numpy(shared.pixels)
    else:
        rows = _matrix_rows(target.reshape(-1), row_of)
        columns = _matrix_rows(pred.reshape(-1), row_of)
        pixels = torch.ones_like(rows)
    matrix = torch.zeros(size**2, dtype=torch.int64, device=rows.device)
    return matrix.index_add_(0, rows * size + columns, pixels).reshape(size, size)


def _matrix_rows(ids: Tensor, row_of: dict[int, int]) -> Tensor:
    """The row (or column) of the matrix in which each id is counted."""
    known_ids = sorted(row_of)
    values = torch.tensor(known_ids, device=ids.device)
    positions = torch.searchsorted(values, ids.to(torch.int64).contiguous())
    positions = positions.clamp(max=len(known_ids) - 1)
    unknown = values[positions] != ids
    if bool(unknown.any()):
        raise ValueError(
            f"Expected category ids of the table, but got {ids[unknown].unique()[:5].tolist()} - "
            "either correct the class mask or mark void with -1"
        )
    return torch.tensor([row_of[key] for key in known_ids], device=ids.device)[positions]
