"""Objects that may overlap -> one map, by a stated rule."""

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
SAME_OBJECT = 0.8  # IoU of two objects of a class from which on they are taken for one that was labelled twice


@dataclass(frozen=True)
class Layer:
    """One object: its pixels (H, W) bool, what it is, and its name for a person, as "annotation 12"."""

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
    """Lay objects over each other.

    Args:
        layers: in the order of the file.
        size: height and width.
        categories: of the data set; layers of one stuff class become one segment.
        overlap: which of two objects gets the pixels both have: the later or the earlier in the file, or the smaller one. Crowds lie
            under everything, stuff under things.
        file: where the objects stand.
        findings: gets objects without pixels, hidden by others, or labelled twice.

    Returns:
        segment id = place among the layers, from 1; void where no object is.
    """
    areas = [int(np.count_nonzero(layer.mask)) for layer in layers]
    rank = {
        "later": lambda place: place,
        "earlier": lambda place: -place,
        "smaller": lambda place: (-areas[place], -place),
    }[overlap]
    depth = [(not layer.iscrowd, categories[layer.category_id].isthing) for layer in layers]
    ids = np.zeros(size, np.int32)
    first_of: dict[int, int] = {}
    for place in sorted(range(len(layers)), key=lambda place: (depth[place], rank(place))):
        layer = layers[place]
        stuff = not categories[layer.category_id].isthing
        ids[layer.mask] = first_of.setdefault(layer.category_id, place + 1) if stuff else place + 1
    category_of = {place: layer.category_id for place, layer in enumerate(layers, start=1)}
    panoptic = Panoptic.from_ids(
        ids,
        category_of,
        crowds={place for place, layer in enumerate(layers, start=1) if layer.iscrowd},
    )
    for place, layer in enumerate(layers, start=1):
        if areas[place - 1] == 0:
            findings.warn(
                file,
                f"expected pixels of {layer.name}, but it covers none",
                "draw it larger or remove it; it is left out",
            )
        elif place not in panoptic.category_of and categories[layer.category_id].isthing:
            findings.warn(
                file,
                f"expected {layer.name} to be seen, but other objects hide it whole",
                "remove it or mend the others",
            )
    find_repeats(layers, file, findings)
    return panoptic


def find_repeats(layers: Sequence[Layer], file: Path, findings: Findings) -> None:
    """Report pairs of one class that cover nearly the same pixels."""
    areas = [int(np.count_nonzero(layer.mask)) for layer in layers]
    for later, layer in enumerate(layers):
        for earlier in range(later):
            other = layers[earlier]
            small, large = sorted((areas[earlier], areas[later]))
            if (
                layer.category_id != other.category_id
                or layer.iscrowd
                or other.iscrowd
                or small < SAME_OBJECT * large
                or small == 0
            ):
                continue
            shared = int(np.count_nonzero(layer.mask & other.mask))
            iou = shared / (small + large - shared)
            if iou >= SAME_OBJECT:
                findings.warn(
                    file,
                    f"expected each object once, but {other.name} and {layer.name} overlap with an IoU of {iou:.2f}",
                    "remove one",
                )
