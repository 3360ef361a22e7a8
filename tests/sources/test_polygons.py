from pathlib import Path

import numpy as np
import pytest

from maskmill.canonical.categories import Categories
from maskmill.sources.finding import Findings
from maskmill.sources.layers import Layer, find_repeats, stack
from maskmill.sources.polygons import polygon_mask, sound_polygons

SQUARE = np.array([[2.0, 1.0], [6.0, 1.0], [6.0, 4.0], [2.0, 4.0]])
TABLE = Categories.from_list(
    [
        {"id": 1, "name": "cat", "isthing": 1},
        {"id": 2, "name": "dog", "isthing": 1},
        {"id": 5, "name": "sky"},
    ]
)
HERE = Path("here")


def test_coco_fills_between_the_edges_and_pillow_fills_the_outline_too():
    coco, pillow = (polygon_mask([SQUARE], (6, 9), rule) for rule in ("coco", "pillow"))
    assert coco[1:4, 2:6].all()
    assert coco.sum() == 3 * 4
    assert pillow[1:5, 2:7].all()
    assert pillow.sum() == 4 * 5


@pytest.mark.parametrize("rule", ["coco", "pillow"])
def test_several_polygons_are_one_object(rule):
    both = polygon_mask([SQUARE, SQUARE + (0, 2)], (8, 9), rule)
    assert np.array_equal(
        both, polygon_mask([SQUARE], (8, 9), rule) | polygon_mask([SQUARE + (0, 2)], (8, 9), rule)
    )


@pytest.mark.parametrize(
    ("points", "what"),
    [
        ([[1, 1], [2, 2]], "has 2 points"),
        ([[1, 1]], "has 1 point"),
        ([[1, 1], [2, 2], [3, 3]], "encloses nothing"),
        ([[1, 1], [2, float("nan")], [3, 0]], "no number"),
        ([[20, 1], [25, 1], [25, 4]], "outside the image"),
        ([[-9, 1], [-5, 1], [-5, 4]], "outside the image"),
    ],
)
def test_a_polygon_without_pixels_is_left_out_with_a_warning(points, what):
    findings = Findings()
    sound = sound_polygons(
        [SQUARE, np.array(points, float)], (6, 9), HERE, "annotation 3", findings
    )
    assert len(sound) == 1
    assert [(one.severity, one.file) for one in findings] == [("warning", "here")]
    assert what in findings[0].what
    assert "annotation 3" in findings[0].what


def test_a_polygon_that_leaves_the_image_is_cut_and_warned_of():
    findings = Findings()
    assert len(sound_polygons([SQUARE + (6, 0)], (6, 9), HERE, "line 1", findings)) == 1
    assert "reaches from [8.0, 1.0] to [12.0, 4.0]" in findings[0].what


def layers():
    large, small = np.zeros((4, 6), bool), np.zeros((4, 6), bool)
    large[:, :4], small[1:3, 3:5] = True, True
    return Layer(small, 1, "small"), Layer(large, 2, "large")


@pytest.mark.parametrize(
    ("overlap", "shared"), [("later", 2), ("earlier", 1), ("smaller", 1)]
)  # the small one comes first; both have column 3 of rows 1 and 2
def test_a_shared_pixel_goes_to_whom_the_rule_says(overlap, shared):
    panoptic = stack(layers(), (4, 6), TABLE, overlap, HERE, Findings())
    assert panoptic.ids[1:3, 3].tolist() == [shared, shared]
    assert panoptic.category_of == {1: 1, 2: 2}


def test_crowds_lie_under_objects_and_stuff_under_things():
    everything = np.ones((4, 6), bool)
    stacked = [
        Layer(everything, 1, "crowd", iscrowd=True),
        *layers(),
        Layer(everything, 5, "sky"),
        Layer(everything, 5, "sky again"),
    ]
    panoptic = stack(stacked, (4, 6), TABLE, "later", HERE, Findings())
    assert panoptic.category_map()[0].tolist() == [2, 2, 2, 2, 5, 5]
    assert (
        len([one for one in panoptic.segments if one.category_id == 5]) == 1
    )  # layers of one stuff class are one segment
    assert panoptic.crowds == frozenset()  # all its pixels are somebody's


def test_an_object_below_others_or_without_pixels_is_warned_of():
    findings = Findings()
    hidden, nothing = (
        Layer(np.eye(4, 6, dtype=bool), 1, "hidden"),
        Layer(np.zeros((4, 6), bool), 1, "nothing"),
    )
    stack(
        [hidden, Layer(np.ones((4, 6), bool), 2, "roof"), nothing],
        (4, 6),
        TABLE,
        "later",
        HERE,
        findings,
    )
    assert [
        "expected hidden to be seen" in findings[0].what,
        "it covers none" in findings[1].what,
    ] == [True, True]


def test_an_object_labelled_twice_is_found_from_an_iou_of_four_fifths_on():
    first, second = np.zeros((1, 20), bool), np.zeros((1, 20), bool)
    first[0, :9], second[0, 1:10] = True, True  # 8 shared of 10
    findings = Findings()
    find_repeats(
        [Layer(first, 1, "a"), Layer(second, 1, "b"), Layer(second, 2, "c")], HERE, findings
    )
    assert [one.what for one in findings] == [
        "expected each object once, but a and b overlap with an IoU of 0.80"
    ]
    second[0, 1] = False  # 7 of 10
    findings.clear()
    find_repeats([Layer(first, 1, "a"), Layer(second, 1, "b")], HERE, findings)
    assert findings == []
