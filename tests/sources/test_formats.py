"""Labels written in each layout are read as the same segments."""

import base64
import io
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from PIL import Image
from pycocotools import mask as coco_mask

from drawn_datasets import DATASETS
from maskmill.canonical.files import write_json
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import write_labels, write_rgb
from maskmill.sources.coco_instances import CocoInstances
from maskmill.sources.coco_panoptic import CocoPart
from maskmill.sources.finding import Findings
from maskmill.sources.instance_ids import InstanceIds
from maskmill.sources.labelme import Labelme
from maskmill.sources.merged import Merged
from maskmill.sources.pairs import FolderPairs
from maskmill.sources.relabelled import Relabelled
from maskmill.sources.thing_masks import ThingMasks
from maskmill.sources.yolo import YoloPart, YoloSegments
from shipped_sources import shipped
from strategies import CATEGORIES, id_maps, panoptics


def png(mode, size):
    """A small PNG in base64."""
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


PNG_OF_17_COLUMNS = png("1", (17, 1))
PNG_IN_COLOUR = png("RGB", (2, 2))


def only(source):
    """The labels of the one sample, and what was found."""
    findings = Findings()
    samples = source.samples(findings)
    assert len(samples) == 1
    return source.read(samples[0], findings), findings


def blank(path, size=(12, 16)):
    return write_rgb(path, np.full((*size, 3), 90, np.uint8))


def coco(
    root,
    annotations,
    *,
    size=(12, 16),
    categories=({"id": 4, "name": "cat"}, {"id": 9, "name": "dog"}),
    **options,
):
    blank(root / "images" / "a.png", size)
    image = {"id": 7, "file_name": "a.png", "height": size[0], "width": size[1]}
    write_json(
        root / "a.json",
        {"images": [image], "annotations": annotations, "categories": list(categories)},
    )
    return CocoInstances(root, [CocoPart("a.json", "images", {"train": 1.0})], **options)


def annotation(number, category_id, segmentation, **more):
    return {
        "id": number,
        "image_id": 7,
        "category_id": category_id,
        "segmentation": segmentation,
        "iscrowd": 0,
    } | more


@pytest.mark.slow
@given(ids=id_maps(void=True))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_objects_in_coco_rle_are_read_unchanged(tmp_path, ids):
    rows = []
    for number, value in enumerate(np.unique(ids[ids > 0]), start=1):
        runs = coco_mask.encode(np.asfortranarray((ids == value).astype(np.uint8)))
        rows.append(
            annotation(number, 4, {"size": runs["size"], "counts": runs["counts"].decode()})
        )
    panoptic, findings = only(coco(tmp_path, rows, size=ids.shape))
    ranks = np.searchsorted(np.unique(ids[ids > 0]), ids) + 1
    assert np.array_equal(panoptic.ids, np.where(ids > 0, ranks, 0))
    assert findings == []


def test_polygons_rle_lists_and_crowds_are_read(tmp_path):
    crowd = {"size": [12, 16], "counts": [0, 12 * 8, 12 * 8]}  # column by column: the left half
    rows = [annotation(1, 4, [[2, 2, 6, 2, 6, 6, 2, 6]]), annotation(2, 9, crowd, iscrowd=1)]
    panoptic, findings = only(coco(tmp_path, rows))
    assert [(item.category_id, item.iscrowd, item.area) for item in panoptic.segments] == [
        (4, False, 16),
        (9, True, 96 - 16),
    ]
    assert panoptic.ids[3, 3] == 1
    assert findings == []


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (annotation(1, 5, [[2, 2, 6, 2, 6, 6]]), r"annotations\[0\] \(id 1\) of image 7 has 5"),
        (
            annotation(1, 4, {"size": [9, 9], "counts": [81]}),
            r"expected size \[12, 16\], but got \[9, 9\]",
        ),
        (
            annotation(1, 4, {"size": [12, 16], "counts": [5]}),
            "runs of 192 pixels in all, but got 5",
        ),
    ],
)
def test_an_invalid_annotation_is_refused(tmp_path, row, message):
    with pytest.raises(ValueError, match=message):
        only(coco(tmp_path, [row]))


def test_an_annotation_without_an_image_is_a_finding(tmp_path):
    _, findings = only(coco(tmp_path, [annotation(1, 4, [[2, 2, 6, 2, 6, 6]]) | {"image_id": 8}]))
    assert [(item.severity, item.file) for item in findings] == [
        ("error", str(tmp_path / "a.json"))
    ]


def yolo(root, text, **options):
    blank(root / "images" / "a.png")
    (root / "labels").mkdir(exist_ok=True)
    if text is not None:
        (root / "labels" / "a.txt").write_text(text)
    return YoloSegments(
        root, [YoloPart("images", "labels", {"train": 1.0})], ["cat", "dog"], **options
    )


def test_a_yolo_line_is_an_object(tmp_path):
    panoptic, findings = only(
        yolo(
            tmp_path,
            "1 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75\n\n0 0 0 0.125 0 0.125 0.25 0 0.25\n",
        )
    )
    assert [(item.category_id, item.area, item.bbox) for item in panoptic.segments] == [
        (1, 48, (4, 3, 8, 6)),
        (0, 6, (0, 0, 2, 3)),
    ]
    assert findings == []


def test_an_image_without_a_label_file_has_no_objects_or_is_an_error(tmp_path):
    panoptic, findings = only(yolo(tmp_path, None))
    assert (panoptic.segments, panoptic.size, findings) == ((), (12, 16), [])
    with pytest.raises(FileNotFoundError, match=r"a\.txt: expected labels of a\.png"):
        only(yolo(tmp_path, None, unlabelled=False))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "7 0.1 0.1 0.5 0.1 0.5 0.5",
            "line 1: expected a class of `names` in conf/source, but got 7",
        ),
        ("0 0.5 0.5 0.2 0.2", "4 numbers are a box - export segments"),
        ("0 0.1 0.1 0.5 0.1 0.5", "expected x and y of every point, but got 5"),
        (
            "1.5 0.1 0.1 0.5 0.1 0.5 0.5",
            "line 1: expected a class index as a whole number, but got",
        ),
        ("nan 0.1 0.1 0.5 0.1 0.5 0.5", "expected a class index as a whole number, but got nan"),
        ("1e400 0.1 0.1 0.5 0.1 0.5 0.5", "as a whole number, but got 1e400"),
        ("cat 0.1 0.1", "expected numbers separated by blanks, but got 'cat 0.1 0.1'"),
    ],
)
def test_an_invalid_yolo_line_is_refused(tmp_path, line, message):
    with pytest.raises(ValueError, match=message):
        only(yolo(tmp_path, line))


def test_every_invalid_yolo_line_is_reported_and_a_whole_class_index_may_have_a_point(tmp_path):
    source = yolo(tmp_path, "1.0 0 0 1 0 1 1\n9 0 0 1 0 1 1\n0 0 0 1 0 1 1\n0.5 0 0 1 0 1 1\n")
    findings = Findings()
    sample = source.samples(findings)[0]
    assert source.classes_of(sample) == {0, 1}
    with pytest.raises(ValueError, match="line 2: expected a class of `names`"):
        source.read(sample, findings)
    lines = [finding.file.rpartition(", ")[2] for finding in findings]
    assert lines == ["line 2", "line 4"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": None}, "expected `label` of shapes[0] to be a valid string, but got None"),
        ({"points": [[0, 0], [3]]}, "expected `points.1.1` in shapes[0], but it is missing"),
        ({"points": [[0, 0], [3, "3"]]}, "`points.1.1` of shapes[0] to be a valid number, but got"),
        ({"points": [[0, 0], [3, float("nan")]]}, "shapes[0] to be a finite number, but got nan"),
        ({"points": {"x": 1}}, "expected `points` of shapes[0] to be a valid list, but got {'x'"),
        ({"shape_type": "star"}, "but shape 1 (cat) is a 'star' of 2 points"),
        ({"shape_type": "circle", "points": []}, "but shape 1 (cat) is a 'circle' of 0 points"),
        ({"shape_type": "mask"}, "expected shape 1 (cat) with a mask, but it does not decode"),
        ({"shape_type": "mask", "mask": "a b"}, "with a mask, but it does not decode (Only base64"),
        ({"shape_type": "mask", "mask": PNG_OF_17_COLUMNS}, "it has 17 x 1 pixels, more than the"),
        ({"shape_type": "mask", "mask": PNG_IN_COLOUR}, "a mask of one channel, but it has RGB"),
    ],
)
def test_an_invalid_labelme_shape_is_refused(tmp_path, change, message):
    row = shape("cat", [[0, 0], [3, 3]], "rectangle") | change
    with pytest.raises(ValueError, match=r"a\.json: expected ") as caught:
        only(labelme(tmp_path, [row]))
    assert message in str(caught.value)


def test_a_far_labelme_circle_is_cropped_with_a_warning(tmp_path):
    circle = shape("cat", [[-1e6, 6], [8.5, 6]], "circle")  # its border is the line x = 8.5
    panoptic, findings = only(labelme(tmp_path, [circle]))
    assert panoptic.segments[0].bbox == (0, 0, 9, 12)
    assert "expected shape 1 (cat) inside the image of 16 x 12 pixels" in findings[0].what


def labelme(root, shapes, **options):
    blank(root / "all" / "a.png")
    content = {
        "version": "5.5.0",
        "imagePath": "a.png",
        "imageHeight": 12,
        "imageWidth": 16,
        "shapes": shapes,
    }
    (root / "all" / "a.json").write_text(json.dumps(content))  # may have NaN
    return Labelme(
        root,
        "all",
        {"cat": 1, "grass": 2},
        {"train": 1.0},
        stuff=["grass"],
        void=["__ignore__"],
        **options,
    )


def shape(label, points, kind="polygon", group=None, **more):
    return {
        "label": label,
        "points": points,
        "shape_type": kind,
        "group_id": group,
        "flags": {},
    } | more


def test_every_kind_of_labelme_shape_with_an_area_is_read(tmp_path):
    bitmap = io.BytesIO()
    Image.fromarray(np.array([[True, False], [True, True]])).save(bitmap, format="PNG")
    shapes = [
        shape("grass", [[0, 6], [15, 11]], "rectangle"),
        shape("cat", [[2, 2], [4, 2]], "circle"),
        shape("cat", [[9, 1], [10, 2]], "mask", mask=base64.b64encode(bitmap.getvalue()).decode()),
        shape("__ignore__", [[14, 0], [15, 1]], "rectangle"),
        shape("cat", [[0, 0], [3, 3]], "line"),
    ]
    panoptic, findings = only(labelme(tmp_path, shapes))
    assert panoptic.ids[1:3, 9:11].tolist() == [[3, 0], [3, 3]]
    assert [(item.id, item.category_id) for item in panoptic.segments] == [(1, 2), (2, 1), (3, 1)]
    assert panoptic.ids[8].tolist() == [1] * 16
    assert panoptic.ids[0, 14] == 0
    assert [item.what for item in findings] == [
        "expected shape 5 (cat) with an area, but it is a line"
    ]


def test_labelme_shapes_of_one_group_are_one_object_and_later_ones_are_on_top(tmp_path):
    square = [[1, 1], [5, 1], [5, 5], [1, 5]]
    beside = [[8, 1], [12, 1], [12, 5], [8, 5]]
    shapes = [
        shape("cat", square, group=0),
        shape("cat", beside, group=0),
        shape("cat", [[4, 1], [9, 1], [9, 5], [4, 5]]),
    ]
    panoptic, _ = only(labelme(tmp_path, shapes))
    assert panoptic.ids[3].tolist() == [0, 1, 1, 1, 2, 2, 2, 2, 2, 2, 1, 1, 1, 0, 0, 0]


def test_an_unknown_label_is_refused(tmp_path):
    with pytest.raises(
        ValueError,
        match=r"a\.json: expected labels of conf/source, but shape 1 \(bird\) has another",
    ):
        only(labelme(tmp_path, [shape("bird", [[0, 0], [3, 3]], "rectangle")]))


@pytest.mark.slow
@given(panoptic=panoptics())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_things_in_class_and_instance_id_masks_are_read_unchanged(tmp_path, panoptic):
    if not panoptic.segments:
        return
    instances = np.zeros(panoptic.size, np.int32)
    for position, segment in enumerate(panoptic.segments, start=1):
        if CATEGORIES[segment.category_id].isthing:
            instances[panoptic.ids == segment.id] = position
    classes = panoptic.category_map()
    write_labels(tmp_path / "classes" / "a.png", np.where(classes < 0, 255, classes))
    write_labels(tmp_path / "numbers" / "a.png", instances)
    blank(tmp_path / "images" / "a.png", panoptic.size)
    pairs = [FolderPairs("images", "classes", {"train": 1.0})]
    source = ThingMasks(
        tmp_path, pairs, CATEGORIES.as_list(), {"classes": "numbers"}, void_ids=[255]
    )
    read, _ = only(source)
    assert np.array_equal(read.category_map(), classes)
    pairs_of_ids = np.unique(np.stack([read.ids.reshape(-1), panoptic.ids.reshape(-1)]), axis=1)
    num_ids = [len(np.unique(ids)) for ids in pairs_of_ids]
    assert num_ids == [pairs_of_ids.shape[1]] * 2


@pytest.fixture
def cityscapes(tmp_path):
    """Two training cities and a validation city, with a road, a person, and a group of cars."""
    for split, city in (("train", "aachen"), ("train", "bochum"), ("val", "lindau")):
        stem = f"{city}_000000_000019"
        blank(tmp_path / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png")
        classes = np.full((12, 16), 7)
        classes[2:6, 2:5] = 24
        classes[2:6, 6:9] = 26
        classes[0] = 255  # licence plate
        classes[11] = 29  # caravan
        numbers = classes.copy()
        numbers[2:6, 2:5] = 24_003
        numbers[0] = 65_535
        numbers[11] = 29_000
        write_labels(tmp_path / "gtFine" / split / city / f"{stem}_gtFine_labelIds.png", classes)
        write_labels(tmp_path / "gtFine" / split / city / f"{stem}_gtFine_instanceIds.png", numbers)
    return tmp_path


@pytest.mark.slow
def test_cityscapes_has_crowds_and_makes_classes_that_are_not_evaluated_void(cityscapes):
    source = shipped("cityscapes", cityscapes)
    source.pairs = source.pairs[1:]
    panoptic, findings = only(source)
    assert [(item.category_id, item.iscrowd, item.area) for item in panoptic.segments] == [
        (7, False, 136),
        (24, False, 12),
        (26, True, 12),
    ]
    assert (panoptic.category_map()[[0, 11]] == -1).all()
    assert findings == []
    assert len(source.categories) == 19


def test_cityscapes_keeps_cities_in_one_split(cityscapes):
    source = shipped("cityscapes", cityscapes)
    for pairs in source.pairs[:1]:
        pairs.split.shares = {"train": 1.0}
    names = {sample.name: sample.split for sample in source.samples(Findings())}
    assert names == {
        "aachen/aachen_000000_000019": "train",
        "bochum/bochum_000000_000019": "train",
        "lindau/lindau_000000_000019": "test",
    }


@pytest.mark.slow
def test_voc_lists_and_void_borders_are_read(tmp_path):
    (tmp_path / "JPEGImages").mkdir()
    classes = np.zeros((12, 16), int)
    classes[2:8, 2:8] = 255
    instances = classes.copy()
    classes[3:7, 3:7] = 15
    instances[3:7, 3:7] = 1
    for name in ("2007_000032", "2007_000033"):
        Image.new("RGB", (16, 12)).save(tmp_path / "JPEGImages" / f"{name}.jpg")
        write_labels(tmp_path / "SegmentationClass" / f"{name}.png", classes)
        write_labels(tmp_path / "SegmentationObject" / f"{name}.png", instances)
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_000032\n")
    (lists / "val.txt").write_text("2007_000033\n")
    source = shipped("voc", tmp_path)
    source.pairs[0].split.shares = {"train": 1.0}
    samples = source.samples(Findings())
    assert [(sample.split, sample.name) for sample in samples] == [
        ("train", "2007_000032"),
        ("test", "2007_000033"),
    ]
    panoptic = source.read(samples[0], Findings())
    assert [(item.category_id, item.area) for item in panoptic.segments] == [
        (0, 192 - 36),
        (15, 16),
    ]


def test_an_instance_id_mask_is_read_as_instances(tmp_path):
    ids = np.zeros((12, 16), int)
    ids[2:4], ids[6:9, :5] = 700, 3
    write_labels(tmp_path / "masks" / "a.png", ids)
    blank(tmp_path / "images" / "a.png")
    source = InstanceIds(
        tmp_path, [FolderPairs("images", "masks", {"train": 1.0})], {"id": 2, "name": "cell"}
    )
    panoptic, _ = only(source)
    assert np.array_equal(panoptic.ids, ids)
    assert set(panoptic.category_of.values()) == {2}
    write_labels(tmp_path / "masks" / "a.png", ids * 0)
    panoptic, findings = only(source)
    assert (panoptic.segments, "every pixel is background" in findings[0].what) == ((), True)


@pytest.fixture
def halves(tmp_path):
    """A class mask of road (0) and car (1), and a COCO file with a car partly on the road."""
    classes = np.zeros((12, 16), int)
    classes[6:, :8] = 1
    write_labels(tmp_path / "labels" / "a.png", classes)
    car = annotation(1, 3, [[4, 8, 12, 8, 12, 12, 4, 12]])
    coco(tmp_path, [car], categories=[{"id": 3, "name": "car"}, {"id": 0, "name": "dog"}])
    (tmp_path / "a.json").rename(tmp_path / "instances.json")
    return tmp_path


@pytest.mark.slow
def test_objects_are_on_top_of_the_class_mask_and_other_thing_pixels_are_void(halves):
    source = shipped(
        "merged", halves, f"source.semantic.root={halves}", f"source.instances.root={halves}"
    )
    assert isinstance(source, Merged)
    source.semantic.pairs[0].split.shares = {"train": 1.0}
    assert [(item.id, item.name, item.isthing) for item in source.categories] == [
        (0, "road", False),
        (1, "car", True),
        (2, "dog", True),
    ]
    panoptic, _ = only(source)
    expected = np.zeros((12, 16), int)
    expected[6:, :8] = -1
    expected[8:, 4:12] = 1
    assert np.array_equal(panoptic.category_map(), expected)


def test_classes_are_renamed_merged_and_dropped(tmp_path):
    ids = np.repeat(np.array([[1, 2, 3, 4]], np.int32), 3, axis=0)
    panoptic = Panoptic.from_ids(ids, {1: 7, 2: 0, 3: 21, 4: 3})

    class One(ThingMasks):
        def __init__(self):
            super().__init__(tmp_path, [], CATEGORIES.as_list(), {})

        def read(self, sample, findings):
            return panoptic

    source = Relabelled(One(), {"0": "ground", "box": "toy", "ball": "toy"})
    assert [(item.id, item.name, item.isthing) for item in source.categories] == [
        (7, "ground", False),
        (21, "toy", True),
    ]
    read = source.read(None, Findings())
    assert read.category_map()[0].tolist() == [7, 7, 21, 21]
    assert read.ids[0].tolist() == [1, 1, 3, 4]  # stuff becomes one segment, things do not
    dropped = Relabelled(One(), {"sky": None, "box": None})
    assert dropped.read(None, Findings()).category_map()[0].tolist() == [7, -1, 21, -1]
    with pytest.raises(
        ValueError, match=r"but got \['tree'\] - choose from ground, sky, ball, box"
    ):
        Relabelled(One(), {"tree": None}).categories  # noqa: B018 - the property works
    with pytest.raises(ValueError, match=r"but got sky \(stuff\), ball \(thing\) - check"):
        Relabelled(One(), {"sky": "ball"}).categories  # noqa: B018


@pytest.mark.slow
def test_an_ade20k_json_file_in_latin_1_is_read(tmp_path):
    DATASETS["ade20k"](tmp_path)
    path = next(tmp_path.rglob("*.json"))
    with pytest.raises(UnicodeDecodeError):
        path.read_text(encoding="utf-8")
    names = [category.name for category in shipped("ade20k", tmp_path).categories]
    assert names == ["building", "car", "grass", "person", "road", "sky", "tree"]
