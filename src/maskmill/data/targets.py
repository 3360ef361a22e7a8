"""Segments to what networks learn from: a class index and a thing number per pixel."""

import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import IGNORE_INDEX, Categories
from maskmill.canonical.panoptic import VOID_ID, Panoptic
from maskmill.canonical.runs import relabel

NO_THING = 0
UNKNOWN = -1


def encode_targets(
    panoptic: Panoptic, categories: Categories, *, min_area_px: int = 0
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """Translate data set ids to training targets: here category ids end and class indices begin.

    Args:
        panoptic: labels of one image.
        categories: the data set's table; where it has no stuff, unlabelled pixels become its background class.
        min_area_px: a thing with fewer pixels keeps its class but is `UNKNOWN` as an instance.

    Returns:
        semantic (H, W) uint8: class 0..K-1, K for background, 255 for void and crowds of things;
        instance (H, W) int32: 1..N for things, 0 for no thing, -1 for void, crowds and leftovers.
    """
    background = categories.background_index
    semantic = {VOID_ID: IGNORE_INDEX if background is None else background}
    instance = {VOID_ID: UNKNOWN if background is None else NO_THING}
    num_things = 0
    for segment in panoptic.segments:
        category = categories[segment.category_id]
        ignored = segment.iscrowd and category.isthing
        semantic[segment.id] = IGNORE_INDEX if ignored else categories.index[segment.category_id]
        if ignored or (category.isthing and segment.area < min_area_px):
            instance[segment.id] = UNKNOWN
        elif category.isthing:
            num_things += 1
            instance[segment.id] = num_things
        else:
            instance[segment.id] = NO_THING
    classes = relabel(panoptic.ids, semantic, default=IGNORE_INDEX).astype(np.uint8)
    return classes, relabel(panoptic.ids, instance, default=UNKNOWN)
