"""Segments to what networks learn from: a class index and a thing number per pixel."""

from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import IGNORE_INDEX, Categories
from maskmill.canonical.panoptic import VOID_ID, Panoptic
from maskmill.canonical.runs import run_lengths, run_starts

THING = 1  # and above: each its own number
NO_THING = 0
UNKNOWN = -1

Targets = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]


def encode_targets(panoptic: Panoptic, categories: Categories, *, min_area_px: int = 0) -> Targets:
    """Training targets of one image's labels, see `encode_ids`."""
    return encode_ids(
        panoptic.ids,
        panoptic.category_of,
        categories,
        crowds=panoptic.crowds,
        min_area_px=min_area_px,
    )


def encode_ids(
    ids: npt.NDArray[np.int32],
    category_of: Mapping[int, int],
    categories: Categories,
    *,
    crowds: Collection[int] = (),
    min_area_px: int = 0,
) -> Targets:
    """Translate data set ids to training targets: here category ids end and class indices begin.

    Args:
        ids: (H, W) segment ids, 0 = void.
        category_of: segment id -> category id; may name segments that a crop has left out.
        categories: the data set's table; where it has no stuff, unlabelled pixels become its background class.
        crowds: ids of the segments that stand for a group.
        min_area_px: a thing with fewer pixels keeps its class but is `UNKNOWN` as an instance.

    Returns:
        semantic (H, W) uint8: class 0..K-1, K for background, 255 for void and crowds of things;
        instance (H, W) int32: 1..N for things, by ascending id, 0 for no thing, -1 for void, crowds and leftovers.

    Raises:
        ValueError: the map has an id that `category_of` lacks.
    """
    starts = run_starts(ids)
    lengths = run_lengths(starts, ids.size)
    values, inverse = _distinct(ids.reshape(-1)[starts])
    areas = np.bincount(inverse, weights=lengths)
    semantic, instance = np.empty(len(values), np.uint8), np.empty(len(values), np.int32)
    num_things = 0
    for place, value in enumerate(values.tolist()):
        semantic[place], kind = (
            _void(categories)
            if value == VOID_ID
            else _target(value, category_of, categories, value in crowds)
        )
        if kind == THING and areas[place] < min_area_px:
            kind = UNKNOWN
        elif kind == THING:
            kind = num_things = num_things + 1
        instance[place] = kind
    return tuple(
        np.repeat(table[inverse], lengths).reshape(ids.shape) for table in (semantic, instance)
    )  # type: ignore[return-value]


def _distinct(
    values: npt.NDArray[np.int32],
) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]]:
    """The distinct values, ascending, and the place of each value among them: `np.unique`, without sorting where the values are small."""
    if values.max() > np.iinfo(np.uint16).max or values.min() < 0:
        return np.unique(values, return_inverse=True)
    there = np.bincount(values) > 0
    return np.flatnonzero(there), (np.cumsum(there) - 1)[values]


def _void(categories: Categories) -> tuple[int, int]:
    """Class and kind of unlabelled pixels."""
    background = categories.background_index
    return (IGNORE_INDEX, UNKNOWN) if background is None else (background, NO_THING)


def _target(
    value: int, category_of: Mapping[int, int], categories: Categories, iscrowd: bool
) -> tuple[int, int]:
    """Class and kind of one segment: `UNKNOWN`, `NO_THING` or `THING`."""
    if value not in category_of:
        raise ValueError(
            f"Expected every id of the map among the segments, but {value} is not - run `dvc repro prepare` again"
        )
    category = categories[category_of[value]]
    if iscrowd and category.isthing:
        return IGNORE_INDEX, UNKNOWN
    return categories.index[category.id], THING if category.isthing else NO_THING
