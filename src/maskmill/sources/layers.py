"""Objects that may overlap to one map, by a documented rule."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.sources.finding import Findings
from maskmill.sources.polygons import Mask

Overlap = Literal["later", "earlier", "smaller"]
SAME_OBJECT_IOU = 0.8  # two objects of a class that overlap this much were probably labelled twice


@dataclass(frozen=True)
class Layer:
    """One object: its pixels (H, W) bool, its category, and its name in messages."""

    mask: Mask
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
    areas = [int(np.count_nonzero(layer.mask)) for layer in layers]
    ids = np.zeros(size, np.int32)
    stuff_id: dict[int, int] = {}
    for index in _bottom_to_top(layers, areas, categories, overlap):
        layer = layers[index]
        segment_id = index + 1
        if not categories[layer.category_id].isthing:
            segment_id = stuff_id.setdefault(layer.category_id, segment_id)
        ids[layer.mask] = segment_id
    category_of = {index: layer.category_id for index, layer in enumerate(layers, start=1)}
    crowds = {index for index, layer in enumerate(layers, start=1) if layer.iscrowd}
    panoptic = Panoptic.from_ids(ids, category_of, crowds=crowds)
    _find_invisible(layers, areas, panoptic, categories, file, findings)
    find_repeats(layers, file, findings)
    return panoptic


def _bottom_to_top(
    layers: Sequence[Layer], areas: list[int], categories: Categories, overlap: Overlap
) -> list[int]:
    """The indices of the layers in the order in which they are drawn."""

    def order(index: int) -> tuple[bool, bool, int, int]:
        layer = layers[index]
        isthing = categories[layer.category_id].isthing
        size_rank = -areas[index] if overlap == "smaller" else 0
        file_rank = index if overlap == "later" else -index
        return not layer.iscrowd, isthing, size_rank, file_rank

    return sorted(range(len(layers)), key=order)


def _find_invisible(
    layers: Sequence[Layer],
    areas: list[int],
    panoptic: Panoptic,
    categories: Categories,
    file: Path,
    findings: Findings,
) -> None:
    """Report objects that cover no pixel, and things that others hide completely."""
    visible = panoptic.category_of
    for index, layer in enumerate(layers):
        if areas[index] == 0:
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
    """Report pairs of one class that cover nearly the same pixels."""
    areas = [int(np.count_nonzero(layer.mask)) for layer in layers]
    for later, layer in enumerate(layers):
        for earlier, other in enumerate(layers[:later]):
            if layer.category_id != other.category_id or layer.iscrowd or other.iscrowd:
                continue
            small, large = sorted((areas[earlier], areas[later]))
            if small == 0 or small < SAME_OBJECT_IOU * large:  # the IoU is at most small / large
                continue
            shared = int(np.count_nonzero(layer.mask & other.mask))
            iou = shared / (small + large - shared)
            if iou >= SAME_OBJECT_IOU:
                findings.warn(
                    file,
                    f"expected each object once, but {other.name} and {layer.name} overlap "
                    f"with an IoU of {iou:.2f}",
                    "remove one of them",
                )
