from pathlib import Path

import numpy as np
import pytest

from maskmill.canonical.categories import Categories
from maskmill.sources.box_mask import BoxMask
from maskmill.sources.finding import Findings
from maskmill.sources.layers import Layer, find_repeats, stack
from maskmill.sources.polygons import keep_valid_polygons, polygon_mask

SQUARE = np.array([[2.0, 1.0], [6.0, 1.0], [6.0, 4.0], [2.0, 4.0]])
TABLE = Categories.from_list(
    [
        {"id": 1, "name": "cat", "isthing": 1},
        {"id": 2, "name": "dog", "isthing": 1},
        {"id": 5, "name": "sky"},
    ]
)
FILE = Path("file")


def test_coco_fills_between_the_edges_and_pillow_fills_the_outline_too():
    coco = polygon_mask([SQUARE], (6, 9), "coco")
    pillow = polygon_mask([SQUARE], (6, 9), "pillow")
    assert (coco.box, coco.area) == ((2, 1, 6, 4), 3 * 4)
    assert (pillow.box, pillow.area) == ((2, 1, 7, 5), 4 * 5)


def on_image(mask, size):
    """The whole image, (H, W) bool."""
    full = np.zeros(size, bool)
    full[mask.window] = mask.pixels
    return full


@pytest.mark.parametrize("rasterizer", ["coco", "pillow"])
def test_several_polygons_are_one_object(rasterizer):
    lower = SQUARE + (0, 2)
    both = polygon_mask([SQUARE, lower], (8, 9), rasterizer)
    separate = [polygon_mask([points], (8, 9), rasterizer) for points in (SQUARE, lower)]
    assert np.array_equal(
        on_image(both, (8, 9)), sum(on_image(one, (8, 9)) for one in separate) > 0
    )


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([[1, 1], [2, 2]], "has 2 points"),
        ([[1, 1]], "has 1 point"),
        ([[1, 1], [2, 2], [3, 3]], "encloses no area"),
        ([[1, 1], [2, float("nan")], [3, 0]], "NaN"),
        ([[20, 1], [25, 1], [25, 4]], "outside the image"),
        ([[-9, 1], [-5, 1], [-5, 4]], "outside the image"),
    ],
)
def test_a_polygon_without_pixels_is_dropped_with_a_warning(points, message):
    findings = Findings()
    polygons = [SQUARE, np.array(points, float)]
    valid = keep_valid_polygons(polygons, (6, 9), FILE, "annotation 3", findings)
    assert len(valid) == 1
    assert [(finding.severity, finding.file) for finding in findings] == [("warning", "file")]
    assert message in findings[0].what
    assert "annotation 3" in findings[0].what


def test_a_polygon_partly_outside_the_image_is_kept_with_a_warning():
    findings = Findings()
    assert len(keep_valid_polygons([SQUARE + (6, 0)], (6, 9), FILE, "line 1", findings)) == 1
    assert "extends from [8.0, 1.0] to [12.0, 4.0]" in findings[0].what


def filled(rows, columns, size=(4, 6)):
    mask = np.zeros(size, bool)
    mask[rows, columns] = True
    return BoxMask.cropped(mask)


EVERYTHING = filled(slice(None), slice(None))
SMALL = Layer(filled(slice(1, 3), slice(3, 5)), 1, "small")
LARGE = Layer(filled(slice(None), slice(4)), 2, "large")  # has column 3 of rows 1 and 2 too


@pytest.mark.parametrize(("overlap", "winner"), [("later", 2), ("earlier", 1), ("smaller", 1)])
def test_the_rule_decides_which_object_gets_a_shared_pixel(overlap, winner):
    panoptic = stack([SMALL, LARGE], (4, 6), TABLE, overlap, FILE, Findings())
    assert panoptic.ids[1:3, 3].tolist() == [winner, winner]
    assert panoptic.category_of == {1: 1, 2: 2}


def test_crowds_are_below_objects_and_stuff_is_below_things():
    layers = [
        Layer(EVERYTHING, 1, "crowd", iscrowd=True),
        SMALL,
        LARGE,
        Layer(EVERYTHING, 5, "sky"),
        Layer(EVERYTHING, 5, "sky again"),
    ]
    panoptic = stack(layers, (4, 6), TABLE, "later", FILE, Findings())
    assert panoptic.category_map()[0].tolist() == [2, 2, 2, 2, 5, 5]
    assert panoptic.crowds == frozenset()  # other layers hide all its pixels


def test_layers_of_one_stuff_class_are_one_segment():
    layers = [Layer(filled(0, slice(None)), 5, "sky"), Layer(filled(2, 3), 5, "sky again")]
    panoptic = stack(layers, (4, 6), TABLE, "later", FILE, Findings())
    assert panoptic.category_of == {1: 5}


def test_a_hidden_object_and_one_without_pixels_are_warnings():
    hidden = Layer(BoxMask.cropped(np.eye(4, 6, dtype=bool)), 1, "hidden")
    roof = Layer(EVERYTHING, 2, "roof")
    empty = Layer(BoxMask.cropped(np.zeros((4, 6), bool)), 1, "empty")
    findings = Findings()
    stack([hidden, roof, empty], (4, 6), TABLE, "later", FILE, findings)
    assert len(findings) == 2
    assert "expected hidden to be visible" in findings[0].what
    assert "pixels of empty, but it covers none" in findings[1].what


def test_two_objects_of_a_class_with_an_iou_of_four_fifths_are_a_repeat():
    first = Layer(filled(0, slice(9), (1, 20)), 1, "a")
    second = Layer(filled(0, slice(1, 10), (1, 20)), 1, "b")  # 8 shared of 10
    other_class = Layer(second.mask, 2, "c")
    findings = Findings()
    find_repeats([first, second, other_class], FILE, findings)
    message = "expected each object once, but a and b overlap with an IoU of 0.80"
    assert [finding.what for finding in findings] == [message]


def test_two_objects_of_a_class_with_a_lower_iou_are_no_repeat():
    first = Layer(filled(0, slice(9), (1, 20)), 1, "a")
    second = Layer(filled(0, slice(2, 10), (1, 20)), 1, "b")  # 7 shared of 10
    findings = Findings()
    find_repeats([first, second], FILE, findings)
    assert findings == []
