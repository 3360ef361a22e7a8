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


def test_classes_are_indices_of_the_table_and_void_and_crowds_of_things_are_ignored():
    semantic, _ = encode_targets(LABELS, STREET)
    assert semantic.dtype == np.uint8
    assert semantic.tolist() == [[255, 0, 1, 1, 1, 1, 255, 255]]


def test_things_are_numbered_stuff_is_zero_and_void_and_crowds_are_unknown():
    _, instance = encode_targets(LABELS, STREET)
    assert instance.dtype == np.int32
    assert instance.tolist() == [[-1, 0, 1, 1, 1, 2, -1, -1]]


def test_a_small_remainder_keeps_its_class_but_is_an_unknown_instance():
    semantic, instance = encode_targets(LABELS, STREET, min_area_px=2)
    assert semantic[0, 5] == 1
    assert instance[0, 5] == -1


def test_unlabelled_pixels_are_background_if_the_data_set_has_no_stuff():
    semantic, instance = encode_targets(Panoptic.from_ids(np.array([[0, 4]]), {4: 1}), CELLS)
    assert semantic.tolist() == [[1, 0]]
    assert instance.tolist() == [[0, 1]]


@given(panoptics())
def test_every_pixel_gets_the_class_and_the_instance_id_of_its_segment(panoptic):
    semantic, instance = encode_targets(panoptic, CATEGORIES)
    things = []  # by ascending id
    for segment in panoptic.segments:
        if CATEGORIES[segment.category_id].isthing:
            things.append(segment.id)
    for pixel, segment_id in np.ndenumerate(panoptic.ids):
        if segment_id == 0:
            assert semantic[pixel] == 255
            assert instance[pixel] == -1
            continue
        assert semantic[pixel] == CATEGORIES.index[panoptic.category_of[segment_id]]
        expected = things.index(segment_id) + 1 if segment_id in things else 0
        assert instance[pixel] == expected


ONLY_CAR_A = IDS[:, 2:5]


def test_segments_outside_a_crop_change_nothing():
    semantic, instance = encode_ids(ONLY_CAR_A, LABELS.category_of, STREET, crowds=LABELS.crowds)
    assert semantic.tolist() == [[1, 1, 1]]
    assert instance.tolist() == [[1, 1, 1]]


def test_an_id_without_a_category_is_refused():
    with pytest.raises(ValueError, match="every id of the map in segments_info, but 9 is missing"):
        encode_ids(ONLY_CAR_A, {}, STREET)
