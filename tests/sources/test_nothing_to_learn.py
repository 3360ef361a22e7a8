"""Data from which nothing can be learned, although every file is sound."""

import json

import numpy as np
import pytest

from maskmill.canonical.files import write_json
from maskmill.canonical.png import write_labels, write_rgb
from maskmill.sources.class_masks import ClassMasks
from maskmill.sources.coco_index import CocoPart
from maskmill.sources.coco_instances import CocoInstances
from maskmill.sources.convert import Converter
from maskmill.sources.pairs import FolderPairs

SPLITS = ("train", "val")
TABLE = [{"id": 0, "name": "ground"}, {"id": 1, "name": "weed"}, {"id": 2, "name": "crop"}]


def picture(path, seed):
    write_rgb(path, np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8))


def objects(root, train, val):
    """COCO data with an object per image, whose `iscrowd` is given; None: no object."""
    parts = []
    for number, (split, iscrowd) in enumerate(zip(SPLITS, (train, val), strict=True)):
        picture(root / split / "a.png", number)
        row = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 2, 8, 8], "area": 64}
        row |= {"segmentation": [[2, 2, 10, 2, 10, 10, 2, 10]], "iscrowd": iscrowd}
        index = {
            "images": [{"id": 1, "file_name": "a.png", "height": 16, "width": 16}],
            "annotations": [] if iscrowd is None else [row],
            "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        }
        write_json(root / f"{split}.json", index)
        parts.append(CocoPart(f"{split}.json", split, {split: 1.0}))
    return CocoInstances(root, parts)


def masks(root, train, val):
    """Class masks whose left and right half have the given values; 255 is void."""
    rules = []
    for number, (split, values) in enumerate(zip(SPLITS, (train, val), strict=True)):
        picture(root / "images" / split / "a.png", number)
        labels = np.repeat([values], 16, axis=0).repeat(8, axis=1)
        write_labels(root / "labels" / split / "a.png", labels)
        rules.append(FolderPairs(f"images/{split}", f"labels/{split}", {split: 1.0}))
    return ClassMasks(root, rules, TABLE, void_ids=[255])


CASES = [
    pytest.param(objects, (None, None), "error", "train", "have none: nothing can be", id="none"),
    pytest.param(objects, (1, 0), "warning", "train", "are crowds (iscrowd)", id="crowds"),
    pytest.param(objects, (0, None), "warning", "val", "its scores are undefined", id="val-none"),
    pytest.param(objects, (0, 1), "warning", "val", "are crowds (iscrowd)", id="val-crowds"),
    pytest.param(objects, (0, 0), "note", "all splits", "but dog (id 2) is in none", id="class"),
    pytest.param(
        masks,
        ((0, 255), (0, 255)),
        "error",
        "train",
        "every labelled pixel of the 1 images of train is ground (id 0)",
        id="one-class",
    ),
    pytest.param(
        masks,
        ((0, 255), (0, 255)),
        "note",
        "all splits",
        "but weed (id 1), crop (id 2) are in none",
        id="classes",
    ),
    pytest.param(
        masks,
        ((0, 1), (0, 2)),
        "warning",
        "train",
        "crop (id 2) is in 1 images of other splits and in none of this: it cannot be learned",
        id="train-lacks-one",
    ),
]


@pytest.mark.parametrize(("draw", "content", "severity", "file", "words"), CASES)
def test_it_is_said_what_cannot_be_learned(tmp_path, draw, content, severity, file, words):
    findings = Converter(tmp_path / "out", workers=1).check(draw(tmp_path, *content))["findings"]
    matches = [row for row in findings if words in row["what"]]
    assert [(row["severity"], row["file"]) for row in matches] == [(severity, file)], json.dumps(
        findings, indent=1
    )


def test_a_usable_set_has_no_such_finding(tmp_path):
    source = masks(tmp_path, (0, 1), (0, 1))
    findings = Converter(tmp_path / "out", workers=1).check(source)["findings"]
    assert [row["file"] for row in findings] == ["all splits"]  # nothing has `crop`


def test_only_void_masks_are_errors_of_their_images(tmp_path):
    source = masks(tmp_path, (255, 255), (0, 1))
    dataset = Converter(tmp_path / "out", workers=1).check(source)
    errors = [row for row in dataset["findings"] if row["severity"] == "error"]
    assert [row["file"] for row in errors] == [str(tmp_path / "labels" / "train" / "a.png")]
    assert "every pixel is void" in errors[0]["what"]


def test_prepare_refuses_training_data_without_objects_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="train: expected labelled objects, but the 1 images of"):
        Converter(tmp_path / "out", workers=1).convert(objects(tmp_path, None, 0))
    assert not list(tmp_path.glob("*out*"))
