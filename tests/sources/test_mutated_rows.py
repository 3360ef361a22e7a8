"""Each value of a small valid file, replaced by values of every wrong kind.

Reading it ends in findings, or in a ValueError that names a file of the data set; nothing else. The
memory and time of a reader do not depend on the numbers in a file.
"""

import base64
import io
import json
from functools import partial, reduce
from operator import getitem

import numpy as np
import pytest
from PIL import Image

from maskmill.canonical.png import write_rgb
from maskmill.sources.ade20k import Ade20k
from maskmill.sources.coco_instances import CocoInstances
from maskmill.sources.coco_panoptic import CocoPanoptic, CocoPart
from maskmill.sources.cwfid import Cwfid
from maskmill.sources.finding import Findings
from maskmill.sources.labelme import Labelme
from maskmill.sources.yolo import YoloPart, YoloSegments
from mutated import REMOVED, REPLACEMENTS, changed, positions

SIZE = (12, 16)
ALL_TRAIN = {"train": 1.0}
SQUARE = [[2, 2], [6, 2], [6, 6], [2, 6]]
WRONG = [
    *(*REPLACEMENTS, REMOVED, 1.5, 1e18, 10**400, 2**31 - 1, float("inf")),
    *([None], [1, 2, 3, 4, 5, 6], {"x": 1}),
]


def blank(path, color=(90, 90, 90)):
    write_rgb(path, np.full((*SIZE, 3), color, np.uint8))


def coco_instances(root):
    for name in "ab":
        blank(root / "images" / f"{name}.png")
    flat = np.array(SQUARE).reshape(-1).tolist()
    runs = {"size": list(SIZE), "counts": [0, 5, 187]}
    row = {"image_id": 1, "category_id": 4, "iscrowd": 0, "area": 16, "bbox": [2, 2, 4, 4]}
    annotations = [
        row | {"id": 1, "segmentation": [flat]},
        row | {"id": 2, "segmentation": runs},
        row | {"id": 3, "segmentation": {"size": list(SIZE), "counts": "05k5"}, "image_id": 2},
    ]
    side = {"height": SIZE[0], "width": SIZE[1]}
    images = [{"id": 1, "file_name": "a.png"} | side, {"id": 2, "file_name": "b.png"} | side]
    parent = {"id": 0, "name": "cat", "supercategory": "none"}
    categories = [parent, {"id": 4, "name": "cat", "supercategory": "cat", "color": [1, 2, 3]}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    source = partial(CocoInstances, root, [CocoPart("a.json", "images", ALL_TRAIN)])
    return content, root / "a.json", source


def coco_panoptic(root):
    for name in "ab":
        blank(root / "images" / f"{name}.png")
        blank(root / "a" / f"{name}.png", (3, 0, 0))
    segment = {"id": 3, "category_id": 7, "area": 192, "bbox": [0, 0, 16, 12], "iscrowd": 0}
    annotations = []
    images = []
    for number, name in enumerate("ab", start=1):
        annotations.append(
            {"image_id": number, "file_name": f"{name}.png", "segments_info": [segment]}
        )
        images.append({"id": number, "file_name": f"{name}.png"})
    categories = [{"id": 7, "name": "sky", "isthing": 0, "color": [1, 2, 3]}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    source = partial(CocoPanoptic, root, [CocoPart("a.json", "images", ALL_TRAIN)])
    return content, root / "a.json", source


def labelme(root):
    blank(root / "all" / "a.png")
    bitmap = io.BytesIO()
    Image.fromarray(np.array([[True, False], [True, True]])).save(bitmap, format="PNG")
    mask = base64.b64encode(bitmap.getvalue()).decode()
    shapes = [
        {"label": "cat", "points": SQUARE, "shape_type": "polygon", "group_id": None},
        {"label": "cat", "points": [[10, 3], [12, 3]], "shape_type": "circle", "group_id": 1},
        {"label": "grass", "points": [[8, 8], [12, 11]], "shape_type": "rectangle"},
        {"label": "cat", "points": SQUARE[:1], "shape_type": "mask", "mask": mask},
        {"label": "cat", "points": SQUARE[:2], "shape_type": "line"},
    ]
    content = {"imagePath": "a.png", "imageHeight": 12, "imageWidth": 16, "shapes": shapes}
    names = {"cat": 1, "grass": 2}
    source = partial(Labelme, root, "all", names, ALL_TRAIN, stuff=["grass"])
    return content, root / "all" / "a.json", source


def cwfid(root):
    colors = np.zeros((*SIZE, 3), np.uint8)
    colors[2:6, 2:6] = 0, 255, 0
    colors[8:11, 8:11] = 255, 0, 0
    write_rgb(root / "annotations" / "001_annotation.png", colors)
    blank(root / "images" / "001_image.png")
    x, y = np.array(SQUARE).T.tolist()
    rows = [
        {"type": "crop", "points": {"x": x, "y": y}},
        {"type": "weed", "points": {"x": [8, 11, 11], "y": [8, 8, 11]}},
        {"type": "weed", "points": {"x": 8.5, "y": 8}},
    ]
    content = {"filename": "001_image.png", "annotation": rows}
    return content, root / "annotations" / "001_annotation.yaml", partial(Cwfid, root, ALL_TRAIN)


def ade20k(root):
    blank(root / "part" / "a.jpg")
    blank(root / "part" / "a_seg.png", (0, 5, 1))
    row = {"name_ndx": 5, "name": "car, auto", "parts": {"part_level": 0}}
    content = {"annotation": {"object": [row, row | {"parts": {"part_level": 1}}]}}
    return content, root / "part" / "a.json", partial(Ade20k, root, {"part": ALL_TRAIN})


FORMATS = [coco_instances, coco_panoptic, labelme, cwfid, ade20k]


def places_in(content):
    """The path of every value in a tree, but only one of several entries that are alike."""
    place_of = {}
    for path in positions(content):
        value = reduce(getitem, path, content)
        keys = tuple("*" if isinstance(key, int) else key for key in path)
        place_of.setdefault((keys, type(value)), path)
    return place_of.values()


def write(path, content):
    path.write_text(json.dumps(content))  # YAML contains JSON


def errors_of(source):
    """All that reading a data set reports: findings, and errors that end the reading."""
    findings = Findings()
    errors = []
    samples = []
    try:
        samples = source.samples(findings)
        assert source.categories
    except (ValueError, FileNotFoundError) as error:
        errors.append(str(error))
    for sample in samples:
        try:
            source.classes_of(sample)
            panoptic = source.read(sample, findings)
            assert panoptic.size == SIZE or sample.labels.suffix == ".json"
        except (ValueError, FileNotFoundError) as error:
            errors.append(str(error))
    return errors + [f"{finding.file}: {finding.what}" for finding in findings]


@pytest.mark.parametrize("draw", FORMATS)
def test_the_unchanged_file_is_read_without_an_error(draw, tmp_path):
    content, path, source = draw(tmp_path)
    write(path, content)
    messages = errors_of(source())
    expected = {labelme: ["but it is a line"], cwfid: ["but one has 1 point"]}.get(draw, [])
    if draw is coco_instances:  # the run-length codes have other areas and boxes than the polygon
        messages = [message for message in messages if "to enclose its mask" not in message]
    for message, part in zip(messages, expected, strict=True):
        assert part in message


@pytest.mark.slow
@pytest.mark.parametrize("draw", FORMATS)
def test_a_wrong_value_becomes_findings_or_an_error_that_names_its_file(draw, tmp_path):
    content, path, source = draw(tmp_path)
    for place in places_in(content):
        for value in WRONG if place else WRONG[: len(REPLACEMENTS)]:
            write(path, changed(content, place, value))
            for message in errors_of(source()):
                assert str(tmp_path) in message, (place, value)


WORDS = ["", "a", "-1", "0.5", "1.5", "7", "nan", "inf", "1e18", "1e308", "1e400", "9" * 5000]


def test_a_wrong_word_in_a_yolo_file_becomes_findings_that_name_it(tmp_path):
    blank(tmp_path / "images" / "a.png")
    path = tmp_path / "labels" / "a.txt"
    path.parent.mkdir()
    source = YoloSegments(tmp_path, [YoloPart("images", "labels", ALL_TRAIN)], ["cat", "dog"])
    words = ["1", "0.25", "0.25", "0.75", "0.25", "0.75", "0.75"]
    for index in range(len(words)):
        for word in [*WORDS, "\ud800"]:
            line = " ".join([*words[:index], word, *words[index + 1 :]])
            path.write_text(f"0 0 0 1 0 1 1\n{line}\n", errors="surrogatepass")
            for message in errors_of(source):
                assert str(path) in message, (index, word)
