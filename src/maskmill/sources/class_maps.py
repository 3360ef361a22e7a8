"""Class masks, with or without instance-id masks, to segments."""

from collections.abc import Collection
from typing import Literal, NoReturn

import cv2
import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import VOID_ID, Panoptic
from maskmill.canonical.runs import joint_histogram, relabel, run_starts

Labels = npt.NDArray[np.int32]
# The segment id of a thing is (category id + 1) * this + instance id, so that ids can be read.
INSTANCES_PER_CLASS = 10_000
SMOOTHED = "stray values along borders, as smoothing leaves them"
EXPORT_AGAIN = (
    "export the labels again without smoothing: resized by nearest neighbour, drawn without "
    "anti-aliasing, not as JPEG"
)
MIN_RAMP_VALUES = 3  # a smoothed border that is wider than two pixels has at least so many
MAX_FLAT = 0.5  # share of its pixels that have the value of all their neighbours


def panoptic_from_classes(
    classes: Labels, categories: Categories, *, void_ids: Collection[int]
) -> Panoptic:
    """One segment per class, whose id is the category id + 1, since 0 is void.

    Args:
        classes: (H, W) category ids.
        categories: the category table.
        void_ids: values that mean "not labelled".

    Raises:
        ValueError: a value is neither a category nor void, or every pixel is void.
    """
    segment_of = {}
    category_of = {}
    for value in labelled_classes(classes, categories, void_ids=void_ids):
        segment_of[value] = value + 1
        category_of[value + 1] = value
    ids = relabel(classes, segment_of, default=VOID_ID)
    return Panoptic.from_ids(ids, category_of)


def labelled_classes(
    classes: Labels, categories: Categories, *, void_ids: Collection[int]
) -> list[int]:
    """The category ids in a class mask, in their order.

    Args:
        classes: (H, W) category ids.
        categories: the category table.
        void_ids: values that mean "not labelled".

    Raises:
        ValueError: a value is neither a category nor void, or every pixel is void.
    """
    values = np.unique(classes.reshape(-1)[run_starts(classes)]).tolist()
    labelled = [value for value in values if value not in void_ids]
    unknown = [value for value in labelled if value not in categories]
    if unknown:
        _raise_unknown(classes, unknown, categories)
    if not labelled:
        raise ValueError(
            "expected labels, but every pixel is void - "
            "either label the image or remove it from the split"
        )
    return labelled


def _raise_unknown(classes: Labels, unknown: list[int], categories: Categories) -> NoReturn:
    """Refuse values outside the table, with the fix that their pattern suggests."""
    found = f"expected ids of the category table or void ids, but got {unknown[:8]}"
    values, counts = np.unique(classes, return_counts=True)
    is_binary = len(categories) == 2 and len(values) >= 2
    threshold = ""
    stray = np.isin(classes, unknown)
    if is_binary:
        middle = (int(values[0]) + int(values[-1]) + 1) // 2
        threshold = (
            "set `labels: {_target_: maskmill.sources.label_images.IndexImage, "
            f"threshold: {middle}}}` in conf/source"
        )
        stray &= ~np.isin(classes, values[np.argsort(counts)[-2:]])  # the levels of both classes
    if stray.any() and is_smoothed(classes, stray):
        fix = f"either {threshold} or {EXPORT_AGAIN}" if is_binary else EXPORT_AGAIN
        raise ValueError(f"{found}: {SMOOTHED} - {fix}")
    fix = "add them to one of the two in conf/source"
    if is_binary and len(values) == 2:
        fix = f"either {fix}, or, if the mask has two values, {threshold}"
    raise ValueError(f"{found} - {fix}")


def panoptic_from_instances(
    classes: Labels,
    instances: Labels,
    categories: Categories,
    *,
    void_ids: Collection[int],
    unnumbered: Literal["error", "crowd"] = "error",
) -> Panoptic:
    """One segment per stuff class and per thing.

    Args:
        classes: (H, W) category ids.
        instances: (H, W) instance ids; 0 on stuff and void.
        categories: the category table.
        void_ids: class values that mean "not labelled".
        unnumbered: whether thing pixels without an instance id are an error, or a crowd of their
            class.

    Raises:
        ValueError: a class is unknown, a thing pixel has no instance id, a stuff or void pixel has
            one, or an instance has two classes.
    """
    by_class = panoptic_from_classes(classes, categories, void_ids=void_ids)
    class_segments, instance_ids, _ = joint_histogram(by_class.ids, instances)
    short_id = _short_ids(instance_ids)
    category_of: dict[int, int] = {}
    thing_segments: dict[int, int] = {}  # instance id -> segment id
    crowd_segments: dict[int, int] = {}  # segment of the class -> segment id
    pairs = zip(class_segments.tolist(), instance_ids.tolist(), strict=True)
    for class_segment, instance_id in pairs:
        category = None if class_segment == VOID_ID else categories[class_segment - 1]
        isthing = category is not None and category.isthing
        if isthing and instance_id == 0 and unnumbered == "crowd":
            crowd_segment = class_segment * INSTANCES_PER_CLASS
            crowd_segments[class_segment] = crowd_segment
            category_of[crowd_segment] = class_segment - 1
            continue
        if isthing != (instance_id != 0):
            name = category.name if category else "void"
            raise ValueError(
                "expected an instance id on every thing and on nothing else, but "
                f"{name} has instance id {instance_id} - fix the instance ids"
            )
        if instance_id in thing_segments:
            raise ValueError(
                f"expected one class per instance, but instance {instance_id} has two - "
                "give each thing an instance id of its own"
            )
        segment = class_segment
        if isthing:
            segment = class_segment * INSTANCES_PER_CLASS + short_id[instance_id]
            thing_segments[instance_id] = segment
        if class_segment != VOID_ID:
            category_of[segment] = class_segment - 1
    stuff_segments = {key: crowd_segments.get(key, key) for key in by_class.category_of}
    stuff_ids = relabel(by_class.ids, stuff_segments, default=VOID_ID)
    thing_ids = relabel(instances, thing_segments, default=VOID_ID)
    ids = np.where(instances > 0, thing_ids, stuff_ids)
    return Panoptic.from_ids(ids, category_of, crowds=crowd_segments.values())


def _short_ids(instance_ids: npt.NDArray[np.int64]) -> dict[int, int]:
    """Instance id -> one below INSTANCES_PER_CLASS: itself, or its rank if one id is too large."""
    distinct = np.unique(instance_ids).tolist()
    if distinct[-1] < INSTANCES_PER_CLASS:
        return {instance_id: instance_id for instance_id in distinct}
    return {instance_id: rank for rank, instance_id in enumerate(distinct)}


def is_smoothed(values: Labels, unknown: npt.NDArray[np.bool_]) -> bool:
    """Whether unknown values come from smoothed borders: thin lines, or ramps of any width.

    In a ramp the value changes from pixel to pixel, while a missing class has areas of one value.

    Args:
        values: (H, W) values of a label image, below 2**24.
        unknown: (H, W) bool, where no class has the value.
    """
    if is_thin(unknown):
        return True
    if len(np.unique(values[unknown])) < MIN_RAMP_VALUES:
        return False
    exact = values.astype(np.float32)  # OpenCV has no integers of 32 bits here
    square = np.ones((3, 3), np.uint8)
    is_flat = cv2.erode(exact, square) == cv2.dilate(exact, square)
    return float(is_flat[unknown].mean()) < MAX_FLAT


def is_thin(mask: npt.NDArray[np.bool_]) -> bool:
    """Whether a mask, (H, W) bool, is nowhere three pixels wide, like borders of smoothed labels.

    Example:
        >>> mask = np.zeros((5, 5), bool)
        >>> mask[:, 1:3] = True
        >>> is_thin(mask)
        True
    """
    return not cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).any()
