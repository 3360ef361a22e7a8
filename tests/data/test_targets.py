import numpy as np
import pytest
from hypothesis import given

from maskmill.canonical.categories import Categories, Category
from maskmill.canonical.panoptic import Panoptic
from maskmill.data.targets import encode_ids, encode_targets
from strategies import CATEGORIES, panoptics

STREET = Categories([Category(7, "road", False, (1, 1, 1)), Category(3, "car", True, (2, 2, 2))])
CELLS = Categories([Category(1, "nucleus", True, (1, 1, 1))])

#          void  road  car A    car B (1 px)  crowd
IDS = np.array([[0, 5, 9, 9, 9, 12, 20, 20]], np.int32)
LABELS = Panoptic.from_ids(IDS, {5: 7, 9: 3, 12: 3, 20: 3}, crowds={20})


def test_classes_are_table_places_and_void_and_crowds_of_things_are_ignored():
    semantic, _ = encode_targets(LABELS, STREET)
    assert semantic.dtype == np.uint8
    assert semantic.tolist() == [[255, 0, 1, 1, 1, 1, 255, 255]]


def test_things_are_numbered_stuff_is_no_thing_and_void_and_crowds_are_unknown():
    _, instance = encode_targets(LABELS, STREET)
    assert instance.dtype == np.int32
    assert instance.tolist() == [[-1, 0, 1, 1, 1, 2, -1, -1]]


def test_a_leftover_keeps_its_class_but_teaches_no_centre():
    semantic, instance = encode_targets(LABELS, STREET, min_area_px=2)
    assert semantic[0, 5] == 1
    assert instance[0, 5] == -1


def test_unlabelled_pixels_of_a_data_set_of_things_are_the_background_class():
    semantic, instance = encode_targets(Panoptic.from_ids(np.array([[0, 4]]), {4: 1}), CELLS)
    assert semantic.tolist() == [[1, 0]]
    assert instance.tolist() == [[0, 1]]


@given(panoptics())
def test_every_pixel_gets_the_class_of_its_segment_and_the_place_of_its_thing(panoptic):
    semantic, instance = encode_targets(panoptic, CATEGORIES)
    things = [
        segment.id for segment in panoptic.segments if CATEGORIES[segment.category_id].isthing
    ]  # by ascending id
    for pixel, value in np.ndenumerate(panoptic.ids):
        void = value == 0
        assert semantic[pixel] == (255 if void else CATEGORIES.index[panoptic.category_of[value]])
        assert instance[pixel] == (
            -1 if void else things.index(value) + 1 if value in things else 0
        )


def test_segments_a_crop_has_left_out_change_nothing_and_unknown_ones_are_refused():
    seen = IDS[:, 2:5]  # car A alone
    semantic, instance = encode_ids(seen, LABELS.category_of, STREET, crowds=LABELS.crowds)
    assert (semantic.tolist(), instance.tolist()) == ([[1, 1, 1]], [[1, 1, 1]])
    with pytest.raises(ValueError, match="every id of the map among the segments, but 9 is not"):
        encode_ids(seen, {}, STREET)
