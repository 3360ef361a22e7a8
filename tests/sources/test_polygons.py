import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from maskmill.canonical.categories import Categories
from maskmill.canonical.rle import rle_runs
from maskmill.sources.box_mask import BoxMask
from maskmill.sources.finding import Findings
from maskmill.sources.layers import Layer, find_repeats, stack
from maskmill.sources.polygons import crop_polygon, keep_valid_polygons, polygon_mask

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


@pytest.mark.slow
@given(
    points=st.lists(st.tuples(*[st.floats(-40, 60)] * 2), min_size=3, max_size=9),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
)
@settings(max_examples=200)
def test_a_polygon_in_its_box_has_the_pixels_of_one_drawn_on_the_whole_image(points, size):
    polygon = np.array(points)
    height, width = size
    canvas = Image.new("1", (width, height))
    ImageDraw.Draw(canvas).polygon(points, outline=1, fill=1)
    in_box = polygon_mask([polygon], size, "pillow")
    assert np.array_equal(on_image(in_box, size), np.asarray(canvas))
    runs = coco_mask.merge(coco_mask.frPyObjects([polygon.reshape(-1).tolist()], *size))
    in_box = polygon_mask([polygon], size, "coco")
    assert np.array_equal(on_image(in_box, size), coco_mask.decode(runs))


@pytest.mark.slow
@given(
    points=st.lists(st.tuples(*[st.floats(-300, 300)] * 2), min_size=3, max_size=6),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
)
@settings(max_examples=200)
def test_cropping_a_polygon_changes_no_pixel_but_some_at_its_outline(points, size):
    """The rasterizers round points, also the new ones where the polygon was cut."""
    polygon = np.array(points)
    height, width = size
    cropped = crop_polygon(polygon, size)
    runs = coco_mask.merge(coco_mask.frPyObjects([polygon.reshape(-1).tolist()], *size))
    expected = coco_mask.decode(runs).astype(bool)
    if not len(cropped):
        assert not expected.any()
        return
    assert (cropped >= (-width, -height)).all()
    assert (cropped <= (2 * width, 2 * height)).all()
    difference = on_image(polygon_mask([cropped], size, "coco"), size) != expected
    square = np.ones((2, 2), np.uint8)
    # Pixels outside the image count as equal, also in an image that is 1 px wide.
    border = {"borderType": cv2.BORDER_CONSTANT, "borderValue": 0}
    assert not cv2.erode(difference.astype(np.uint8), square, **border).any()


def test_a_polygon_near_its_image_is_not_cropped():
    points = np.array([[-9.0, -6.0], [18.0, -6.0], [18.0, 12.0]])  # size of the image away from it
    assert crop_polygon(points, (6, 9)) is points


@pytest.mark.parametrize("far", [1e4, 1e7, 1e12, 1e18, 1e300])
@pytest.mark.parametrize("rasterizer", ["coco", "pillow"])
def test_a_far_point_is_cropped_with_a_warning(far, rasterizer):
    """A strip from x = 2 to far away covers the image from column 2 on."""
    findings = Findings()
    strip = np.array([[2, -far], [far, -far], [far, far], [2, far]])
    valid = keep_valid_polygons([strip], (6, 9), FILE, "line 4", findings)
    assert polygon_mask(valid, (6, 9), rasterizer).box == (2, 0, 9, 6)
    assert polygon_mask(valid, (6, 9), rasterizer).area == 6 * 7
    assert [finding.file for finding in findings] == ["file"]
    assert "expected line 4 inside the image of 9 x 6 pixels" in findings[0].what


def test_a_far_polygon_beside_the_image_is_dropped():
    findings = Findings()
    beside = np.array([[1e9, 0], [1e18, 0], [1e18, 5]])
    assert keep_valid_polygons([beside], (6, 9), FILE, "line 4", findings) == []
    assert "one lies outside the image of 9 x 6 pixels" in findings[0].what


def test_an_outline_that_would_fill_the_memory_is_dropped():
    zigzag = np.tile([[0.0, 0.0], [4000.0, 4000.0], [3.0, 0.0]], (700, 1))
    findings = Findings()
    assert keep_valid_polygons([zigzag], (4000, 4000), FILE, "line 4", findings) == []
    assert "one has an outline of 5,602,100 pixels" in findings[0].what


@pytest.mark.slow
@pytest.mark.parametrize("rasterizer", ["coco", "pillow"])
def test_memory_of_many_objects_is_that_of_the_image_and_their_boxes(rasterizer):
    """300 squares of 6 x 6 px in 1,000 x 1,000: whole masks would be 300 MB."""
    findings = Findings()
    size = 1000, 1000
    tracemalloc.start()
    layers = []
    for index in range(300):
        row, column = divmod(index, 50)
        square = SQUARE * (1.5, 2) + (20 * column, 160 * row)
        valid = keep_valid_polygons([square], size, FILE, f"line {index}", findings)
        layers.append(Layer(polygon_mask(valid, size, rasterizer), 1, f"line {index}"))
    panoptic = stack(layers, size, TABLE, "smaller", FILE, findings)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(panoptic.segments) == 300
    assert peak < 40 * 10**6
    assert findings == []


@given(npst.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))), st.data())
def test_an_object_in_its_box_has_the_pixels_of_its_mask(mask, data):
    other = data.draw(npst.arrays(bool, mask.shape))
    runs = rle_runs(coco_mask.encode(np.asfortranarray(mask, np.uint8)), mask.shape)
    cropped = BoxMask.cropped(mask)
    from_runs = BoxMask.from_runs(runs, len(mask))
    from_canvas = BoxMask.from_canvas(Image.fromarray(mask.astype(np.uint8)))
    for box_mask in (cropped, from_runs, from_canvas):
        assert np.array_equal(on_image(box_mask, mask.shape), mask)
        assert box_mask.box == cropped.box
    assert cropped.area == mask.sum()
    assert cropped.num_shared(BoxMask.cropped(other)) == (mask & other).sum()


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
    again = Layer(second.mask, 1, "d")
    findings = Findings()
    find_repeats([first, second, other_class, again], FILE, findings)
    message = "expected each object once, but a and {} overlap with an IoU of 0.80"
    assert [finding.what for finding in findings] == [message.format("b"), message.format("d")]


def test_two_objects_of_a_class_with_a_lower_iou_are_no_repeat():
    first = Layer(filled(0, slice(9), (1, 20)), 1, "a")
    second = Layer(filled(0, slice(2, 10), (1, 20)), 1, "b")  # 7 shared of 10
    findings = Findings()
    find_repeats([first, second], FILE, findings)
    assert findings == []
