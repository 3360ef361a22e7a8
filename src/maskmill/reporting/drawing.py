"""Labels drawn over an image: category colours, and a border around each segment."""

import cv2
import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import RGB, ids_to_rgb, rgb_to_ids
from maskmill.canonical.runs import relabel

WHITE = 255
TINT = 0.15  # of the colours within contours: the photograph stays visible
# The pixels of a contour around one of the border: those at most two steps away.
LINE = np.array(
    [[0, 0, 1, 0, 0], [0, 1, 1, 1, 0], [1, 1, 1, 1, 1], [0, 1, 1, 1, 0], [0, 0, 1, 0, 0]], np.uint8
)
MAX_SIDE = 512  # px of the longer side of an example: a hundred of them stay below 50 MB


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
    drawn = _tint(image, panoptic, _colors(panoptic, categories), opacity)
    drawn[_borders(panoptic.ids)] = WHITE
    return drawn


def draw_contours(image: RGB, panoptic: Panoptic, categories: Categories) -> RGB:
    """Draw the contour of each segment in its category colour; white separates two of a category.

    Args:
        image: (H, W, 3) uint8 RGB.
        panoptic: labels of the same size.
        categories: gives the colours.

    Returns:
        (H, W, 3) uint8 RGB, in which the image can be seen within the contours.
    """
    colors = _colors(panoptic, categories)
    border = _borders(panoptic.ids)
    is_contour = cv2.dilate(border.view(np.uint8), LINE)
    is_contour[panoptic.ids == 0] = 0
    drawn = _tint(image, panoptic, colors, TINT)
    cv2.copyTo(colors, is_contour, drawn)
    separates = border & ~_borders(panoptic.category_map())
    drawn.reshape(-1, 3)[np.flatnonzero(separates)] = WHITE
    return drawn


def _tint(image: RGB, panoptic: Panoptic, colors: RGB, opacity: float) -> RGB:
    """The image, with colours of that opacity over each segment."""
    tinted = cv2.addWeighted(image, 1 - opacity, colors, opacity, 0).astype(np.uint8, copy=False)
    cv2.copyTo(image, (panoptic.ids == 0).view(np.uint8), tinted)
    return tinted


def _colors(panoptic: Panoptic, categories: Categories) -> RGB:
    """The category colour of each pixel, (H, W, 3) uint8; black for void."""
    colors = np.array([category.color for category in categories], np.uint8)
    packed = rgb_to_ids(colors[None])[0].tolist()
    color_of_segment = {}
    for segment_id, category_id in panoptic.category_of.items():
        color_of_segment[segment_id] = packed[categories.index[category_id]]
    return ids_to_rgb(relabel(panoptic.ids, color_of_segment, default=0))


def draw_example_row(image: RGB, target: Panoptic, pred: Panoptic, categories: Categories) -> RGB:
    """The image, its ground truth and its prediction side by side, large images made smaller.

    Args:
        image: (H, W, 3) uint8 RGB.
        target: ground truth of the same size.
        pred: prediction of the same size.
        categories: gives the colours.

    Returns:
        (h, 3 w, 3) uint8 RGB.
    """
    parts = [image, overlay(image, target, categories), overlay(image, pred, categories)]
    row = np.concatenate(parts, axis=1)
    factor = min(1.0, MAX_SIDE / max(target.size))
    if factor == 1:
        return row
    return cv2.resize(row, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA).astype(
        np.uint8
    )


def _borders(labels: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """Pixels whose right or lower neighbour has another label, (H, W) bool."""
    border = np.zeros(labels.shape, dtype=bool)
    border[:, :-1] |= labels[:, 1:] != labels[:, :-1]
    border[:-1] |= labels[1:] != labels[:-1]
    return border
