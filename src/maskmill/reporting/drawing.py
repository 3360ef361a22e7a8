"""Labels drawn over an image: category colours, and a border around each segment."""

import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import RGB
from maskmill.canonical.runs import relabel

WHITE = 255


def overlay(
    image: RGB, panoptic: Panoptic, categories: Categories, *, opacity: float = 0.55
) -> RGB:
    """Draw the category colours over an image; segment borders are white, void stays unchanged.

    Args:
        image: (H, W, 3) uint8 RGB.
        panoptic: labels of the same size.
        categories: gives the colours.
        opacity: of the colours, 0..1.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    colors = [(0, 0, 0)]  # of void
    colors += [category.color for category in categories]
    row_of_segment = {}
    for segment_id, category_id in panoptic.category_of.items():
        row_of_segment[segment_id] = categories.index[category_id] + 1
    rows = relabel(panoptic.ids, row_of_segment, default=0)
    alpha = np.where(rows[..., None] > 0, np.float32(opacity), np.float32(0))
    mixed = (1 - alpha) * image + alpha * np.array(colors, dtype=np.float32)[rows]
    mixed[_borders(panoptic)] = WHITE
    return np.rint(mixed).astype(np.uint8)


def _borders(panoptic: Panoptic) -> npt.NDArray[np.bool_]:
    """Pixels whose right or lower neighbour belongs to another segment, (H, W) bool."""
    ids = panoptic.ids
    border = np.zeros(ids.shape, dtype=bool)
    border[:, :-1] |= ids[:, 1:] != ids[:, :-1]
    border[:-1] |= ids[1:] != ids[:-1]
    return border
