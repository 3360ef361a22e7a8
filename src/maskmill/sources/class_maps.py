"""Maps of class ids, with or without maps of instances beside them, to segments."""

from collections.abc import Collection
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import VOID_ID, Panoptic
from maskmill.canonical.runs import joint_histogram, relabel, run_starts

Labels = npt.NDArray[np.int32]
INSTANCES_PER_CLASS = (
    10_000  # segment id of a thing = (category id + 1) * this + instance, so ids say what they are
)
SMOOTHED = "stray values along borders, as smoothing leaves them"


def panoptic_of_classes(
    classes: Labels, categories: Categories, *, void_ids: Collection[int]
) -> Panoptic:
    """One segment per class; its id is the category id + 1, since 0 is void.

    Args:
        classes: (H, W) category ids.
        categories: the table.
        void_ids: values that mean "not labelled".

    Raises:
        ValueError: a value is neither a category nor void, or every pixel is void.
    """
    values = np.unique(classes.reshape(-1)[run_starts(classes)])
    unknown = [
        int(value)
        for value in values
        if int(value) not in categories and int(value) not in void_ids
    ]
    if unknown and is_thin(np.isin(classes, unknown)):
        raise ValueError(
            f"expected ids of the category table or void ids, but got {unknown[:8]}: {SMOOTHED} - export the labels again without "
            "smoothing: resized by nearest neighbour, drawn without anti-aliasing, not as JPEG"
        )
    if unknown:
        raise ValueError(
            f"expected ids of the category table or void ids, but got {unknown[:8]} - add them to one of them in conf/source"
        )
    present = [int(value) for value in values if int(value) not in void_ids]
    if not present:
        raise ValueError(
            "expected labels, but every pixel is void - label the image or take it off the split"
        )
    ids = relabel(classes, {value: value + 1 for value in present}, default=VOID_ID)
    return Panoptic.from_ids(ids, {value + 1: value for value in present})


def panoptic_of_instances(
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
        instances: (H, W), 0 on stuff and void, the thing's number elsewhere.
        categories: the table.
        void_ids: class values that mean "not labelled".
        unnumbered: whether a thing's pixels without a number are a fault, or a crowd of that class.

    Raises:
        ValueError: a class is unknown, a thing's pixel has no number, stuff or void has one, or a number stands for two classes.
    """
    by_class = panoptic_of_classes(classes, categories, void_ids=void_ids)
    class_segments, numbers, _ = joint_histogram(by_class.ids, instances)
    short = {
        number: number if numbers.max() < INSTANCES_PER_CLASS else rank
        for rank, number in enumerate(np.unique(numbers).tolist())
    }
    category_of, thing_ids, crowd_ids = {}, {}, {}
    for segment, number in zip(class_segments.tolist(), numbers.tolist(), strict=True):
        category = None if segment == VOID_ID else categories[segment - 1]
        isthing = category is not None and category.isthing
        if isthing and number == 0 and unnumbered == "crowd":
            crowd_ids[segment] = segment * INSTANCES_PER_CLASS
            category_of[crowd_ids[segment]] = segment - 1
            continue
        if isthing != (number != 0):
            name = category.name if category else "void"
            raise ValueError(
                f"expected a number on every thing and on nothing else, but {name} has instance {number} - mend the instances"
            )
        if number in thing_ids:
            raise ValueError(
                f"expected one class per instance, but instance {number} has two - give each thing a number of its own"
            )
        if isthing:
            thing_ids[number] = segment * INSTANCES_PER_CLASS + short[number]
        if segment != VOID_ID:
            category_of[thing_ids.get(number, segment)] = segment - 1
    stuff_ids = relabel(
        by_class.ids,
        {key: crowd_ids.get(key, key) for key in by_class.category_of},
        default=VOID_ID,
    )
    ids = np.where(instances > 0, relabel(instances, thing_ids, default=VOID_ID), stuff_ids)
    return Panoptic.from_ids(ids, category_of, crowds=crowd_ids.values())


def is_thin(mask: npt.NDArray[np.bool_]) -> bool:
    """Whether a mask, (H, W) bool, is nowhere three pixels wide, as the seams of smoothed labels are."""
    return not cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).any()
