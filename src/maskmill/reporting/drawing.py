"""Labels as people see them: category colours over the image, each thing outlined."""

import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import RGB
from maskmill.canonical.runs import relabel


def overlay(
    image: RGB, panoptic: Panoptic, categories: Categories, *, opacity: float = 0.55
) -> RGB:
    """Lay the category colours over an image; segment borders are white, void stays the bare image.

    Args:
        image: (H, W, 3) uint8 RGB.
        panoptic: labels of the same size.
        categories: where the colours are.
        opacity: of the colour, 0..1.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    table = np.array([(0, 0, 0), *(category.color for category in categories)], dtype=np.float32)
    places = relabel(
        panoptic.ids,
        {key: categories.index[value] + 1 for key, value in panoptic.category_of.items()},
        default=0,
    )
    alpha = np.where(places[..., None] > 0, np.float32(opacity), np.float32(0))
    mixed = (1 - alpha) * image + alpha * table[places]
    mixed[_borders(panoptic)] = 255
    return np.rint(mixed).astype(np.uint8)


def _borders(panoptic: Panoptic) -> npt.NDArray[np.bool_]:
    """Pixels whose right or lower neighbour is another segment, (H, W) bool."""
    ids = panoptic.ids
    border = np.zeros(ids.shape, dtype=bool)
    border[:, :-1] |= ids[:, 1:] != ids[:, :-1]
    border[:-1] |= ids[1:] != ids[:-1]
    return border
