"""What other tools read is what was predicted: each format is read back, by its own description."""

import json
from types import SimpleNamespace
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis.extra import numpy as npst

from maskmill.canonical.categories import Categories, Category
from maskmill.canonical.folder import ImageRecord
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.rle import decode_rle
from maskmill.postprocess.prediction import Prediction
from maskmill.serving.formats.coco import Coco
from maskmill.serving.formats.cvat import Cvat
from maskmill.serving.formats.geojson import GeoJson
from maskmill.serving.formats.label_studio import LabelStudio, encode_brush
from maskmill.serving.formats.labels import Labels
from maskmill.serving.outlines import polygons
from strategies import CATEGORIES

# ground with a hole, a box of two parts that touch at a corner, a ball in the hole, void
IDS = np.array(
    [
        [1, 1, 1, 1, 0, 9],
        [1, 4, 4, 1, 0, 0],
        [1, 4, 1, 1, 7, 0],
        [1, 1, 1, 7, 0, 7],
    ],
    np.int32,
)
PANOPTIC = Panoptic.from_ids(
    IDS, {1: 7, 4: 21, 7: 3, 9: 0}, scores={1: 0.9, 4: 0.8, 7: 0.25, 9: 0.5}
)
NAMED = Categories(
    [
        Category(7, "ground & <soil>", False, (0, 90, 0)),
        Category(0, "sky", False, (90, 180, 250)),
        Category(21, 'the "ball"', True, (200, 0, 0)),
        Category(3, "box", True, (200, 200, 0)),
    ]
)
RECORD = ImageRecord(5, 'day/a&"b".jpg', height=4, width=6)
IMAGE = np.zeros((4, 6, 3), np.uint8)


def written(folder, output_format, panoptic=PANOPTIC, semantic=None):
    """What a format writes for one image: its files, then those of all."""
    semantic = np.maximum(panoptic.category_map(), 0) if semantic is None else semantic
    entry = output_format.entry(RECORD, IMAGE, Prediction(semantic, panoptic))
    output_format.finish(folder, [(RECORD, json.loads(json.dumps(entry.row)))])
    return entry.files


def test_coco_results_are_the_things(tmp_path):
    assert written(tmp_path, Coco(categories=CATEGORIES)) == {}
    rows = json.loads((tmp_path / "instances.json").read_text())
    assert [(row["image_id"], row["category_id"], row["score"]) for row in rows] == [
        (5, 21, 0.8),
        (5, 3, 0.25),
    ]
    assert np.array_equal(decode_rle(rows[1]["segmentation"], IDS.shape), IDS == 7)


def test_coco_results_of_a_model_without_things_are_refused():
    stuff = Categories([Category(7, "ground", False, (0, 90, 0))])
    with pytest.raises(ValueError, match="all its categories are stuff - choose another format"):
        Coco(categories=stuff)


def decoded(png):
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)


def test_label_images_have_category_ids_and_numbers_of_things(tmp_path):
    files = written(tmp_path, Labels(categories=CATEGORIES))
    assert sorted(files) == ['instances/day/a&"b".png', 'semantic/day/a&"b".png']
    instances, semantic = (decoded(files[name]) for name in sorted(files))
    assert np.array_equal(semantic, np.maximum(PANOPTIC.category_map(), 0))
    assert np.array_equal(instances, np.where(IDS == 4, 1, np.where(IDS == 7, 2, 0)))
    assert json.loads((tmp_path / "labels.json").read_text())["background"] is None


def test_background_has_a_value_that_is_no_category(tmp_path):
    things = Categories([Category(0, "ball", True, (1, 0, 0)), Category(2, "box", True, (2, 0, 0))])
    panoptic = Panoptic.from_ids(np.array([[0, 1, 2, 2, 0, 0]] * 4), {1: 0, 2: 2})
    files = written(tmp_path, Labels(categories=things), panoptic, panoptic.category_map())
    assert decoded(files['semantic/day/a&"b".png'])[0].tolist() == [1, 0, 2, 2, 1, 1]
    assert json.loads((tmp_path / "labels.json").read_text())["background"] == 1


def filled(polygon_list, shape):
    """The pixels inside rings: a pixel changes sides at each vertical edge left of it."""
    mask = np.zeros(shape, bool)
    for polygon in polygon_list:
        for ring in polygon:
            for (x, y), (next_x, next_y) in zip(ring, ring[1:], strict=False):
                if x == next_x:
                    mask[min(y, next_y) : max(y, next_y), x:] ^= True
    return mask


def area(ring):
    pairs = zip(ring, ring[1:], strict=False)
    return sum(x * next_y - next_x * y for (x, y), (next_x, next_y) in pairs) / 2


masks = npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, max_side=9))


@given(masks)
@example(np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], bool))  # the hole touches the outside
@example(np.array([[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 1]], bool))  # two holes
@example(np.array([[1, 0], [0, 1]], bool))
@example(np.kron([[1, 0, 1], [0, 1, 0], [1, 0, 1]], np.ones((3, 3))).astype(bool))
def test_polygons_are_valid_and_cover_exactly_the_mask(mask):
    found = polygons(mask)
    assert np.array_equal(filled(found, mask.shape), mask)
    num_parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[0] - 1
    assert len(found) == num_parts
    for exterior, *holes in found:
        assert area(exterior) > 0  # counterclockwise with y upwards (RFC 7946, sec. 3.1.6)
        assert all(area(hole) < 0 for hole in holes)
        for ring in (exterior, *holes):
            assert len(ring) >= 5
            assert ring[0] == ring[-1]
            assert len(set(ring)) == len(ring) - 1  # no ring touches itself


def test_geojson_has_a_geometry_per_segment(tmp_path):
    files = written(tmp_path, GeoJson(categories=NAMED))
    collection = json.loads(files['geojson/day/a&"b".geojson'])
    assert collection["type"] == "FeatureCollection"
    kinds = {feature["id"]: feature["geometry"]["type"] for feature in collection["features"]}
    assert kinds == {1: "Polygon", 4: "Polygon", 7: "MultiPolygon", 9: "Polygon"}
    for feature in collection["features"]:
        geometry = feature["geometry"]
        several = geometry["type"] == "MultiPolygon"
        coordinates = geometry["coordinates"] if several else [geometry["coordinates"]]
        assert np.array_equal(filled(coordinates, IDS.shape), feature["id"] == IDS)
    assert collection["features"][1]["properties"] == {
        "category": 'the "ball"',
        "category_id": 21,
        "isthing": True,
        "score": 0.8,
        "area_px": 3,
        "classification": {"name": 'the "ball"', "color": [200, 0, 0]},
    }


def unpacked(data):
    """thi.ng/rle-pack, from its description: the values of an encoded list of bytes."""
    bits = "".join(f"{byte:08b}" for byte in data)
    at = SimpleNamespace(position=0)

    def read(size):
        at.position += size
        return int(bits[at.position - size : at.position], 2)

    num_values, word_bits = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values = []
    while len(values) < num_values:
        is_run = read(1)
        length = read(sizes[read(2)]) + 1
        if is_run:
            values += [read(word_bits)] * length
        else:
            values += [read(word_bits) for _ in range(length)]
    return values


@given(masks)
@example(np.ones((300, 250), bool))  # more than the longest run, 2**16 values
def test_a_brush_mask_decodes_to_the_mask(mask):
    rgba = np.array(unpacked(encode_brush(mask)), np.uint8).reshape(*mask.shape, 4)
    assert np.array_equal(rgba, np.repeat(mask[..., None] * np.uint8(255), 4, axis=2))


def test_label_studio_tasks_fit_their_configuration(tmp_path):
    written(tmp_path, LabelStudio(categories=NAMED, url="/data/local-files/?d=photos/"))
    (task,) = json.loads((tmp_path / "tasks.json").read_text())
    assert task["data"] == {"image": '/data/local-files/?d=photos/day/a&"b".jpg'}
    (prediction,) = task["predictions"]
    assert prediction["score"] == pytest.approx((0.9 + 0.8 + 0.25 + 0.5) / 4)
    view = ElementTree.parse(tmp_path / "config.xml").getroot()
    brush, picture = view.find("BrushLabels"), view.find("Image")
    names = [label.get("value") for label in brush]
    assert names == [category.name for category in NAMED]
    assert picture.get("value") == "$image"
    for result, segment in zip(prediction["result"], PANOPTIC.segments, strict=True):
        assert (result["from_name"], result["to_name"]) == (brush.get("name"), picture.get("name"))
        assert result["value"]["brushlabels"] == [NAMED[segment.category_id].name]
        assert (result["original_width"], result["original_height"]) == (6, 4)
        alpha = np.array(unpacked(result["value"]["rle"])).reshape(4, 6, 4)[..., 3]
        assert np.array_equal(alpha == 255, segment.id == IDS)


def test_cvat_annotations_decode_to_the_segments(tmp_path):
    written(tmp_path, Cvat(categories=NAMED))
    root = ElementTree.parse(tmp_path / "annotations.xml").getroot()
    assert root.findtext("version") == "1.1"
    names = [label.findtext("name") for label in root.iterfind("meta/task/labels/label")]
    assert names == [category.name for category in NAMED]
    assert (tmp_path / "labels.txt").read_text().splitlines() == names
    (image,) = root.findall("image")
    assert [image.get(key) for key in ("id", "name", "width", "height")] == [
        *("0", 'day/a&"b".jpg', "6", "4")
    ]
    for mask, segment in zip(image, PANOPTIC.segments, strict=True):
        left, top, width, height = (
            int(mask.get(key)) for key in ("left", "top", "width", "height")
        )
        counts = [int(count) for count in mask.get("rle").split(",")]
        inside = np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(height, width)
        drawn = np.zeros(IDS.shape, bool)
        drawn[top : top + height, left : left + width] = inside
        assert np.array_equal(drawn, segment.id == IDS)
        assert mask.get("label") == NAMED[segment.category_id].name
