"""Rows of another shape: what is reported, and that everything else is read."""

import json

import numpy as np
import pytest

from maskmill.canonical.files import write_json
from maskmill.canonical.png import write_rgb
from maskmill.sources.coco_instances import CocoInstances
from maskmill.sources.coco_panoptic import CocoPart
from maskmill.sources.convert import Converter
from maskmill.sources.finding import Findings

SIZE = (48, 64)


def square(number, image_id, category_id, x, y, side):
    flat = [x, y, x + side, y, x + side, y + side, x, y + side]
    row = {"id": number, "image_id": image_id, "category_id": category_id, "iscrowd": 0}
    return row | {"segmentation": [flat], "area": side * side, "bbox": [x, y, side, side]}


@pytest.fixture
def root(tmp_path):
    """Two images: a cat and a dog in the first, a cat in the second."""
    images = []
    for number, name in enumerate("ab", start=1):
        write_rgb(tmp_path / "images" / f"{name}.png", np.full((*SIZE, 3), 90, np.uint8))
        images.append({"id": number, "file_name": f"{name}.png", "height": 48, "width": 64})
    annotations = [
        square(1, 1, 1, 5, 5, 25),
        square(2, 1, 3, 35, 10, 20),
        square(3, 2, 1, 8, 8, 32),
    ]
    categories = [{"id": 1, "name": "cat"}, {"id": 3, "name": "dog"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    write_json(tmp_path / "a.json", content)
    return tmp_path


def source_of(root):
    return CocoInstances(root, [CocoPart("a.json", "images", {"train": 1.0})])


def edit(root, change):
    content = json.loads((root / "a.json").read_text())
    result = change(content)
    (root / "a.json").write_text(json.dumps(content if result is None else result))


def first(content):
    return content["annotations"][0]


def rename_file_names(content):
    for row in content["images"]:
        row["path"] = row.pop("file_name")


def remove_heights(content):
    for row in content["images"]:
        del row["height"]


def remove_ids(content):
    for row in content["annotations"]:
        del row["id"]


FIRST = "annotations[0] (id 1)"
MASK = f"{FIRST} of image 1 has no valid mask: expected"
# the change, what is found, and how many images are left
ROWS = {
    "flat polygon": (
        lambda content: first(content).update(segmentation=[5, 5, 30, 5, 30, 30]),
        [f"{MASK} `segmentation.0` of {FIRST} of image 1 to be a valid list, but got 5"],
        1,
    ),
    "run-length code in a list": (
        lambda content: first(content).update(segmentation=[{"size": [48, 64], "counts": [9]}]),
        [f"{MASK} `segmentation.0` of {FIRST} of image 1 to be a valid list, but got {{'counts'"],
        1,
    ),
    "points as mappings": (
        lambda content: first(content).update(segmentation=[[{"x": 5, "y": 5}]]),
        [f"{MASK} `segmentation.0.0` of {FIRST} of image 1 to be a valid number, but got {{'x'"],
        1,
    ),
    "text as counts": (
        lambda content: first(content).update(segmentation={"size": SIZE, "counts": ["100"]}),
        [f"{MASK} counts of whole numbers, but got other values"],
        1,
    ),
    "size null": (
        lambda content: first(content).update(segmentation={"size": None, "counts": [3072]}),
        [f"{MASK} size [48, 64], but got None"],
        1,
    ),
    "code of a smaller image": (
        lambda content: first(content).update(segmentation={"size": SIZE, "counts": ""}),
        [f"{MASK} runs of 3072 pixels in all, but got 0"],
        1,
    ),
    "no height": (
        remove_heights,
        [
            "expected `height` in images[0] (id 1), but it is missing",
            "expected `height` in images[1] (id 2), but it is missing",
            "expected images in every split, but found none for train",
        ],
        0,
    ),
    "no file name": (
        rename_file_names,
        [
            "expected `file_name` in images[0] (id 1), but it is missing",
            "expected `file_name` in images[1] (id 2), but it is missing",
            "expected images in every split, but found none for train",
        ],
        0,
    ),
    "negative height": (
        lambda content: content["images"][0].update(height=-48),
        ["expected `height` of images[0] (id 1) to be greater than or equal to 1, but got -48"],
        1,
    ),
    "enormous image": (
        lambda content: content["images"][0].update(height=200_000, width=200_000),
        ["expected at most 80,000,000 pixels, but got 200000 x 200000"],
        1,
    ),
    "image id twice": (
        lambda content: content["images"].append(content["images"][0]),
        [
            "expected each image id once, but images[0] (id 1) is one of 2 rows with it",
            "expected each image id once, but images[2] (id 1) is one of 2 rows with it",
        ],
        1,
    ),
    "no image id": (
        lambda content: first(content).pop("image_id") and None,
        [f"expected `image_id` in {FIRST}, but it is missing"],
        2,
    ),
    "image id as text": (
        lambda content: first(content).update(image_id="1"),
        [f"expected `image_id` of {FIRST} to be a valid integer, but got '1'"],
        2,
    ),
    "annotation null": (
        lambda content: content["annotations"].append(None),
        ["expected annotations[3] to be a mapping, but got None"],
        2,
    ),
    "category null": (
        lambda content: first(content).update(category_id=None),
        [f"expected `category_id` of {FIRST} to be a valid integer, but got None"],
        1,
    ),
    "crowd of 2": (
        lambda content: first(content).update(iscrowd=2),
        [f"expected `iscrowd` of {FIRST} to be a valid boolean, but got 2"],
        1,
    ),
}
WARNINGS = {
    "no annotation ids": (
        remove_ids,
        [f"a whole number as `id` of annotations[{index}], but got None" for index in range(3)],
    ),
    "annotation id twice": (
        lambda content: content["annotations"][2].update(id=1),
        ["each annotation id once, but annotations[0] and annotations[2] have id 1"],
    ),
    "area null": (
        lambda content: first(content).update(area=None),
        [f"the area of {FIRST} of image 1 to be that of its mask, 625 px, but got None"],
    ),
    "area as text": (
        lambda content: first(content).update(area="625"),
        [f"the area of {FIRST} of image 1 to be that of its mask, 625 px, but got '625'"],
    ),
    "area NaN": (
        lambda content: first(content).update(area=float("nan")),
        [f"the area of {FIRST} of image 1 to be that of its mask, 625 px, but got nan"],
    ),
    "bbox as a mapping": (
        lambda content: first(content).update(bbox={"x": 5, "y": 5, "w": 25, "h": 25}),
        [f"the bbox of {FIRST} of image 1 to enclose its mask, [5, 5, 25, 25], but got {{'h'"],
    ),
    "far point": (
        lambda content: first(content)["segmentation"][0].__setitem__(2, 1e12),
        [
            f"{FIRST} of image 1 inside the image of 64 x 48 pixels, but a polygon extends from "
            "[5.0, 5.0] to [1000000000000.0, 30.0]",
            f"the area of {FIRST}",
            f"the bbox of {FIRST}",
        ],
    ),
}


@pytest.mark.parametrize("case", ROWS)
def test_an_invalid_row_is_an_error_and_the_other_images_are_read(case, root, tmp_path):
    change, messages, num_left = ROWS[case]
    edit(root, change)
    dataset = Converter(tmp_path / "unused", workers=1).check(source_of(root))
    findings = [row for row in dataset["findings"] if row["severity"] == "error"]
    for finding, message in zip(findings, messages, strict=True):
        assert message in f"{finding['file']}: {finding['what']}"
        assert str(root) in finding["file"]
        assert len(finding["fix"].split()) > 2
    assert sum(split["num_images"] for split in dataset["splits"].values()) == num_left


@pytest.mark.parametrize("case", WARNINGS)
def test_a_wrong_value_that_is_not_used_is_a_warning(case, root):
    change, messages = WARNINGS[case]
    edit(root, change)
    findings = Findings()
    for sample in source_of(root).samples(findings):
        source_of(root).read(sample, findings)
    assert {finding.severity for finding in findings} == {"warning"}
    for finding, message in zip(findings, messages, strict=True):
        assert message in finding.what
        assert finding.file == str(root / "a.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: [content], "expected COCO instances JSON, but got a list - check"),
        (
            lambda content: content.update(annotations={"1": first(content)}),
            "expected `annotations` as a list of rows, but got a dict - export the file again",
        ),
        (
            lambda content: content["categories"][0].pop("name") and None,
            "expected `name` in categories[0] (id 1), but it is missing - correct the category",
        ),
    ],
)
def test_a_file_of_another_shape_is_refused_with_its_name(root, change, message):
    edit(root, change)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        Converter(root / "unused", workers=1).check(source_of(root))
    assert str(caught.value).startswith(f"{root / 'a.json'}: ")
    assert message in str(caught.value)


def test_exclude_leaves_out_the_image_with_an_invalid_row(root, tmp_path):
    edit(root, lambda content: first(content).update(category_id="1"))
    converter = Converter(tmp_path / "out", workers=1, on_problem="exclude")
    dataset = converter.convert(source_of(root))
    assert [row["name"] for row in dataset["problems"]] == ["a"]
    assert [path.name for path in (tmp_path / "out" / "train" / "images").iterdir()] == ["b.png"]
    with pytest.raises(ValueError, match=r"to be a valid integer, but got '1' - export the file"):
        Converter(tmp_path / "out", workers=1).convert(source_of(root))


def test_without_any_valid_image_the_first_invalid_row_is_named(root, tmp_path):
    edit(root, remove_heights)
    with pytest.raises(ValueError, match=r"expected `height` in images\[0\] \(id 1\)"):
        Converter(tmp_path / "out", workers=1).convert(source_of(root))
    converter = Converter(tmp_path / "out", workers=1, on_problem="exclude")
    with pytest.raises(ValueError, match="expected images in every split, but found none"):
        converter.convert(source_of(root))


@pytest.mark.parametrize(
    ("value", "iscrowd"),
    [(0, False), (1, True), ("0", False), ("1", True), (False, False), (True, True), (0.0, False)],
)
def test_iscrowd_is_a_value_and_not_a_truth(root, value, iscrowd):
    edit(root, lambda content: first(content).update(iscrowd=value))
    source = source_of(root)
    panoptic = source.read(source.samples(Findings())[0], Findings())
    assert [segment.iscrowd for segment in panoptic.segments] == [iscrowd, False]


def test_the_root_category_of_an_export_is_no_class_if_a_class_has_its_name(root):
    def export(content):
        content["categories"] = [
            {"id": 0, "name": "facade", "supercategory": "none"},
            {"id": 1, "name": "window", "supercategory": "facade"},
            {"id": 3, "name": "facade", "supercategory": "facade"},
        ]

    edit(root, export)
    source = source_of(root)
    assert [(row.id, row.name) for row in source.categories] == [(1, "window"), (3, "facade")]
    panoptic = source.read(source.samples(Findings())[0], Findings())
    assert set(panoptic.category_of.values()) == {1, 3}


def test_two_classes_of_one_name_are_refused_if_none_is_a_root(root):
    def repeat(content):
        content["categories"] = [{"id": 1, "name": "cat"}, {"id": 3, "name": "cat"}]

    edit(root, repeat)
    with pytest.raises(ValueError, match=r"a\.json: Expected each category name once"):
        _ = source_of(root).categories


def test_a_row_of_another_image_leaves_a_sample_the_same_for_the_cache(root):
    before = source_of(root).samples(Findings())[1]
    edit(root, lambda content: content["annotations"].insert(0, square(9, 1, 1, 2, 2, 3)))
    after = source_of(root).samples(Findings())[1]
    assert (before.indices, after.indices) == ((2,), (3,))
    assert repr(before) == repr(after)
