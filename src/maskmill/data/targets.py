"""From segments to the targets of training: a class index and an instance id per pixel."""

from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import IGNORE_INDEX, Categories
from maskmill.canonical.panoptic import VOID_ID, Panoptic
from maskmill.canonical.runs import run_lengths, run_starts

THING = 1  # things have the instance ids 1..N
NO_THING = 0
UNKNOWN = -1

Targets = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]


def encode_targets(panoptic: Panoptic, categories: Categories, *, min_area_px: int = 0) -> Targets:
    """The training targets of the labels of one image, see `encode_ids`."""
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
    """Translate the data set's ids to training targets, with class indices 0..K-1.

    Args:
        ids: (H, W) segment ids, 0 = void.
        category_of: segment id -> category id; may contain segments that a crop has removed.
        categories: the category table; if it has no stuff, unlabelled pixels become its background
            class.
        crowds: ids of the crowd segments.
        min_area_px: a thing with fewer pixels keeps its class but has the instance id `UNKNOWN`.

    Returns:
        semantic (H, W) uint8: class 0..K-1, K for background, 255 for void and crowds of things;
        instance (H, W) int32: 1..N for things, by ascending segment id, 0 for no thing, -1 for
        void, crowds of things and small remainders.

    Raises:
        ValueError: the map contains an id that `category_of` lacks.
    """
    starts = run_starts(ids)
    lengths = run_lengths(starts, ids.size)
    segment_ids, segment_of_run = _distinct(ids.reshape(-1)[starts])
    areas = np.bincount(segment_of_run, weights=lengths)
    classes = np.empty(len(segment_ids), np.uint8)
    instances = np.empty(len(segment_ids), np.int32)
    num_things = 0
    for index, segment_id in enumerate(segment_ids.tolist()):
        if segment_id == VOID_ID:
            class_index, kind = _void(categories)
        else:
            iscrowd = segment_id in crowds
            class_index, kind = _target(segment_id, category_of, categories, iscrowd)
        classes[index] = class_index
        if kind == THING and areas[index] < min_area_px:
            instances[index] = UNKNOWN
        elif kind == THING:
            num_things += 1
            instances[index] = num_things
        else:
            instances[index] = kind
    semantic = np.repeat(classes[segment_of_run], lengths).reshape(ids.shape)
    instance = np.repeat(instances[segment_of_run], lengths).reshape(ids.shape)
    return semantic, instance


def _distinct(
    values: npt.NDArray[np.int32],
) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]]:
    """The distinct values in ascending order, and the index of each value among them.

    Equals `np.unique(values, return_inverse=True)`, but does not sort if the values are small.
    """
    if values.max() > np.iinfo(np.uint16).max or values.min() < 0:
        return np.unique(values, return_inverse=True)
    is_present = np.bincount(values) > 0
    index_of_value = np.cumsum(is_present) - 1
    return np.flatnonzero(is_present), index_of_value[values]


def _void(categories: Categories) -> tuple[int, int]:
    """The class and the kind (`UNKNOWN` or `NO_THING`) of unlabelled pixels."""
    background = categories.background_index
    return (IGNORE_INDEX, UNKNOWN) if background is None else (background, NO_THING)


def _target(
    segment_id: int, category_of: Mapping[int, int], categories: Categories, iscrowd: bool
) -> tuple[int, int]:
    """The class and the kind (`UNKNOWN`, `NO_THING` or `THING`) of one segment."""
    if segment_id not in category_of:
        raise ValueError(
            f"Expected every id of the map in segments_info, but {segment_id} is missing - "
            "run `dvc repro prepare` again"
        )
    category = categories[category_of[segment_id]]
    if iscrowd and category.isthing:
        return IGNORE_INDEX, UNKNOWN
    return categories.index[category.id], THING if category.isthing else NO_THING
