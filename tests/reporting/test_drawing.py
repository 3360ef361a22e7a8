import numpy as np
from hypothesis import given

from drawn_folders import BALL
from maskmill.canonical.panoptic import Panoptic
from maskmill.reporting.drawing import draw_contours, overlay
from strategies import CATEGORIES, panoptics


@given(panoptics())
def test_an_overlay_leaves_void_unchanged_and_borders_white(panoptic):
    image = np.full((*panoptic.size, 3), 100, np.uint8)
    drawn = overlay(image, panoptic, CATEGORIES)
    white = (drawn == 255).all(axis=2)
    assert (drawn[(panoptic.ids == 0) & ~white] == 100).all()
    for (y, x), value in np.ndenumerate(panoptic.ids[:, :-1]):
        assert white[y, x] or value == panoptic.ids[y, x + 1]


def test_contours_have_the_colour_of_the_class_and_leave_the_photograph_visible():
    ids = np.pad(np.ones((15, 15), np.int32), (0, 5))
    ids[:15, :3] = 2
    panoptic = Panoptic.from_ids(ids, {1: BALL, 2: BALL})
    image = np.full((20, 20, 3), 100, np.uint8)
    drawn = draw_contours(image, panoptic, CATEGORIES).astype(int)
    color = np.array(CATEGORIES[BALL].color)
    assert drawn[7, 14].tolist() == color.tolist()  # the border to void
    assert drawn[7, 13].tolist() == color.tolist()
    assert drawn[7, 2].tolist() == [255] * 3  # the border between two balls
    assert drawn[7, 7].tolist() == np.rint(0.85 * 100 + 0.15 * color).tolist()
    assert (drawn[17, 17] == 100).all()  # void
