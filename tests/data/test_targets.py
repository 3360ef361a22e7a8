import numpy as np

from maskmill.canonical.categories import Categories, Category
from maskmill.canonical.panoptic import Panoptic
from maskmill.data.targets import encode_targets

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
