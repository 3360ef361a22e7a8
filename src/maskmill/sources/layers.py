"""Objects that may overlap to one map, by a documented rule."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.sources.box_mask import BoxMask
from maskmill.sources.finding import Findings

Overlap = Literal["later", "earlier", "smaller"]
SAME_OBJECT_IOU = 0.8  # two objects of a class that overlap this much were probably labelled twice


@dataclass(frozen=True)
class Layer:
    """One object: its pixels, its category, and its name in messages."""

    mask: BoxMask
    category_id: int
    name: str
    iscrowd: bool = False


def stack(
    layers: Sequence[Layer],
    size: tuple[int, int],
    categories: Categories,
    overlap: Overlap,
    file: Path,
    findings: Findings,
) -> Panoptic:
    """Put objects on top of each other.

    Args:
        layers: in the order of the file.
        size: height and width.
        categories: the category table; layers of one stuff class become one segment.
        overlap: which of two objects gets the pixels of both: the later or the earlier one in the
            file, or the smaller one. Crowds are below everything, stuff is below things.
        file: the file with the objects.
        findings: receives objects without pixels, hidden by others, or labelled twice.

    Returns:
        segment ids are positions in `layers`, from 1; void where no object is.
    """
    ids = np.zeros(size, np.int32)
    stuff_id: dict[int, int] = {}
    for index in _bottom_to_top(layers, categories, overlap):
        layer = layers[index]
        segment_id = index + 1
        if not categories[layer.category_id].isthing:
            segment_id = stuff_id.setdefault(layer.category_id, segment_id)
        ids[layer.mask.window][layer.mask.pixels] = segment_id
    category_of = {index: layer.category_id for index, layer in enumerate(layers, start=1)}
    crowds = {index for index, layer in enumerate(layers, start=1) if layer.iscrowd}
    panoptic = Panoptic.from_ids(ids, category_of, crowds=crowds)
    _find_invisible(layers, panoptic, categories, file, findings)
    find_repeats(layers, file, findings)
    return panoptic


def _bottom_to_top(layers: Sequence[Layer], categories: Categories, overlap: Overlap) -> list[int]:
    """The indices of the layers in the order in which they are drawn."""

    def order(index: int) -> tuple[bool, bool, int, int]:
        layer = layers[index]
        isthing = categories[layer.category_id].isthing
        size_rank = -layer.mask.area if overlap == "smaller" else 0
        file_rank = index if overlap == "later" else -index
        return not layer.iscrowd, isthing, size_rank, file_rank

    return sorted(range(len(layers)), key=order)


def _find_invisible(
    layers: Sequence[Layer],
    panoptic: Panoptic,
    categories: Categories,
    file: Path,
    findings: Findings,
) -> None:
    """Report objects that cover no pixel, and things that others hide completely."""
    visible = panoptic.category_of
    for index, layer in enumerate(layers):
        if layer.mask.area == 0:
            findings.warn(
                file,
                f"expected pixels of {layer.name}, but it covers none",
                "either draw it larger or remove it; it is not used",
            )
        elif categories[layer.category_id].isthing and index + 1 not in visible:
            findings.warn(
                file,
                f"expected {layer.name} to be visible, but other objects hide it completely",
                "either remove it or fix the others",
            )


def find_repeats(layers: Sequence[Layer], file: Path, findings: Findings) -> None:
    """Report each object that covers nearly the same pixels as an earlier one of its class."""
    # for each later layer, the first earlier one of its class and with shared / union >= 0.8
    objects = [layer for layer in layers if layer.mask.area and not layer.iscrowd]
    category_ids = np.array([layer.category_id for layer in objects], np.int64)
    areas = np.array([layer.mask.area for layer in objects], np.int64)
    boxes = np.array([layer.mask.box for layer in objects], np.int64).reshape(-1, 4)
    for later, layer in enumerate(objects):
        isnear = _largest_iou(boxes[:later], areas[:later], layer.mask) >= SAME_OBJECT_IOU
        isnear &= category_ids[:later] == layer.category_id
        for earlier in np.flatnonzero(isnear).tolist():
            other = objects[earlier]
            shared = layer.mask.num_shared(other.mask)
            iou = shared / (layer.mask.area + other.mask.area - shared)
            if iou >= SAME_OBJECT_IOU:
                findings.warn(
                    file,
                    f"expected each object once, but {other.name} and {layer.name} overlap "
                    f"with an IoU of {iou:.2f}",
                    "remove one of them",
                )
                break


def _largest_iou(
    boxes: npt.NDArray[np.int64], areas: npt.NDArray[np.int64], mask: BoxMask
) -> npt.NDArray[np.float64]:
    """The largest IoU that objects of these boxes (N, 4) and areas (N,) can have with another."""
    left, top, right, bottom = mask.box
    width = np.minimum(boxes[:, 2], right) - np.maximum(boxes[:, 0], left)
    height = np.minimum(boxes[:, 3], bottom) - np.maximum(boxes[:, 1], top)
    shared = np.minimum(width.clip(0) * height.clip(0), np.minimum(areas, mask.area))
    return np.asarray(shared / (areas + mask.area - shared))
