"""Overlaps of segments given as tensors [category, instance], counted where the tensors are."""

from collections.abc import Iterator

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
INSTANCES = 2**32  # instance numbers lie below


def segment_overlaps(
    pred: Tensor, target: Tensor, categories: Categories
) -> Iterator[tuple[Overlaps, dict[int, int], dict[int, int]]]:
    """What pairs of segments share, image by image, as `match_overlaps` takes it.

    A pixel is a category id and an instance number. Things are told apart by the number, of stuff it means nothing; -1, and 255 where no
    category has this id, are void. Tensors on the CPU are counted by numpy, others on their device: only the few pairs leave it.

    Args:
        pred: (B, H, W, 2) integers.
        target: (B, H, W, 2).
        categories: the data set's table.

    Yields:
        the overlaps of target and prediction, and the class indices of the predicted and of the true segments.

    Raises:
        ValueError: the shapes differ or have no pairs at the end, or a category or an instance number is none.
    """
    if pred.shape != target.shape or pred.ndim != 4 or pred.shape[-1] != 2:
        raise ValueError(
            f"Expected pixels [category, instance] of one shape (B, H, W, 2), but got {tuple(pred.shape)} and {tuple(target.shape)} - "
            "stack class and instance maps"
        )
    for guess, true in zip(pred, target, strict=True):
        if pred.is_cpu:
            keys = _numpy_overlaps(
                *(side.reshape(-1, 2).contiguous().numpy() for side in (true, guess))
            )
        else:
            keys = device_overlaps(
                *(side[..., 0].to(torch.int64) * INSTANCES + side[..., 1] for side in (true, guess))
            )
        yield _segments(keys, categories)


def _numpy_overlaps(first: npt.NDArray[np.integer], second: npt.NDArray[np.integer]) -> Overlaps:
    """Of pixels (N, 2); only those that begin a run are made keys."""
    starts = starts_of_rows(first, second)
    left, right = (side[starts] @ np.array([INSTANCES, 1], np.int64) for side in (first, second))
    return overlaps_of_runs(left, right, run_lengths(starts, len(first)))


def device_overlaps(first: Tensor, second: Tensor) -> Overlaps:
    """`overlaps` in torch: runs and their histogram on the device, in whole numbers."""
    first, second = first.reshape(-1), second.reshape(-1)
    change = torch.ones(len(first), dtype=torch.bool, device=first.device)
    change[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    starts = change.nonzero()[:, 0]
    lengths = torch.diff(starts, append=starts.new_tensor([len(first)]))
    first_values, rows = first[starts].unique(return_inverse=True)
    second_values, columns = second[starts].unique(return_inverse=True)
    codes, places = (rows * len(second_values) + columns).unique(return_inverse=True)
    pixels = torch.zeros_like(codes).index_add_(0, places, lengths)
    values, others, pairs, counts = (
        tensor.cpu().numpy() for tensor in (first_values, second_values, codes, pixels)
    )
    return Overlaps(values, others, *np.divmod(pairs, len(others)), counts)


def _segments(
    keys: Overlaps, categories: Categories
) -> tuple[Overlaps, dict[int, int], dict[int, int]]:
    """From keys to segments 1..N: the instances of a stuff class are one, and what is void is segment 0."""
    (true_ids, true_index), (pred_ids, pred_index) = (
        _numbered(values, categories) for values in (keys.first, keys.second)
    )
    true, rows = np.unique(true_ids[keys.rows], return_inverse=True)
    pred, columns = np.unique(pred_ids[keys.columns], return_inverse=True)
    pairs, places = np.unique(rows * len(pred) + columns, return_inverse=True)
    pixels = np.bincount(places, keys.pixels).astype(np.int64)
    return Overlaps(true, pred, *np.divmod(pairs, len(pred)), pixels), pred_index, true_index


def _numbered(keys: Ints, categories: Categories) -> tuple[Ints, dict[int, int]]:
    """The segment of each key, and the class index of each segment."""
    category_ids, instances = np.divmod(keys, INSTANCES)
    void = {VOID_CATEGORY, IGNORE_INDEX} - categories.index.keys()
    unknown = sorted(set(category_ids.tolist()) - categories.index.keys() - void)
    if unknown:
        raise ValueError(
            f"Expected category ids of the table and instance numbers in 0..{INSTANCES - 1}, but got the category {unknown[:5]} - "
            "mend the tensor, or mark what is unlabelled with -1"
        )
    numbers: dict[tuple[int, int], int] = {}
    ids = np.full(len(keys), VOID_ID, np.int64)
    for place, (category_id, instance) in enumerate(
        zip(category_ids.tolist(), instances.tolist(), strict=True)
    ):
        if category_id not in void:
            segment = (category_id, instance if categories[category_id].isthing else 0)
            ids[place] = numbers.setdefault(segment, len(numbers) + 1)
    return ids, {
        number: categories.index[category_id] for (category_id, _), number in numbers.items()
    }


def tensor_confusion(pred: Tensor, target: Tensor, categories: Categories) -> Tensor:
    """`confusion_matrix` of a batch of tensors, counted where they are.

    Args:
        pred: (B, H, W) category ids; -1, and 255 where no category has this id, where nothing was predicted.
        target: (B, H, W), likewise where unlabelled.
        categories: gives the order of rows and columns.

    Returns:
        (K + 1, K + 1) int64 on their device: target in rows, the last row and column of void.

    Raises:
        ValueError: the shapes differ, or hold an id that is not in the table.
    """
    if pred.shape != target.shape:
        raise ValueError(
            f"Expected predictions of the target's shape {tuple(target.shape)}, but got {tuple(pred.shape)}"
        )
    size = categories.num_classes + 1
    place = dict.fromkeys((VOID_CATEGORY, IGNORE_INDEX), size - 1) | categories.index
    if pred.is_cpu:
        shared = overlaps(target.numpy(), pred.numpy())
        values = (shared.first, shared.second)
        pairs, pixels = np.stack([shared.rows, shared.columns]), shared.pixels
        rows, columns = (
            _placed(torch.from_numpy(side), place)[torch.from_numpy(at)]
            for side, at in zip(values, pairs, strict=True)
        )
        weights = torch.from_numpy(pixels)
    else:
        rows, columns = (_placed(side.reshape(-1), place) for side in (target, pred))
        weights = torch.ones_like(rows)
    return (
        torch.zeros(size**2, dtype=torch.int64, device=rows.device)
        .index_add_(0, rows * size + columns, weights)
        .reshape(size, size)
    )


def _placed(ids: Tensor, place: dict[int, int]) -> Tensor:
    """The row of the matrix that each id counts in."""
    known = sorted(place)
    values = torch.tensor(known, device=ids.device)
    found = torch.searchsorted(values, ids.to(torch.int64).contiguous()).clamp(max=len(known) - 1)
    if bool((values[found] != ids).any()):
        unknown = ids[values[found] != ids].unique()[:5].tolist()
        raise ValueError(
            f"Expected category ids of the table, but got {unknown} - mend the class map, or mark void with -1"
        )
    return torch.tensor([place[key] for key in known], device=ids.device)[found]
