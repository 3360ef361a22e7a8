import numpy as np
from hypothesis import given

from maskmill.reporting.drawing import overlay
from strategies import CATEGORIES, panoptics


@given(panoptics())
def test_an_overlay_leaves_void_unchanged_and_borders_white(panoptic):
    image = np.full((*panoptic.size, 3), 100, np.uint8)
    drawn = overlay(image, panoptic, CATEGORIES)
    white = (drawn == 255).all(axis=2)
    assert (drawn[(panoptic.ids == 0) & ~white] == 100).all()
    for (y, x), value in np.ndenumerate(panoptic.ids[:, :-1]):
        assert white[y, x] or value == panoptic.ids[y, x + 1]
