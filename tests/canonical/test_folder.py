import json

import numpy as np
import pytest
from hypothesis import given

from maskmill.canonical.folder import (
    ImageRecord,
    PanopticFolder,
    require_distinct_png_names,
    write_index,
    write_panoptic,
)
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import write_ids, write_rgb
from mutated import changed, mutations
from strategies import CATEGORIES, panoptics

IDS = np.array([[0, 1, 1], [70_000, 70_000, 2]], np.int32)
PANOPTIC = Panoptic.from_ids(IDS, {1: 7, 2: 21, 70_000: 21}, crowds={70_000})


@pytest.fixture
def split(tmp_path):
    """A split with one image of 2 x 3 pixels."""
    record = ImageRecord(31, "a/b.jpg", 2, 3)
    write_rgb(tmp_path / "images" / "a" / "b.jpg", np.full((2, 3, 3), 9, np.uint8))
    write_index(tmp_path, CATEGORIES, [record], [write_panoptic(tmp_path, record, PANOPTIC)])
    return tmp_path


def edit(split, change):
    index = json.loads((split / "panoptic.json").read_text())
    change(index)
    (split / "panoptic.json").write_text(json.dumps(index))


@given(panoptics())
def test_reading_a_written_folder_returns_the_labels(tmp_path_factory, panoptic):
    folder = tmp_path_factory.mktemp("split")
    record = ImageRecord(5, "x.png", *panoptic.size)
    write_index(folder, CATEGORIES, [record], [write_panoptic(folder, record, panoptic)])
    read = PanopticFolder(folder)
    assert read.records == (record,)
    assert read.categories == CATEGORIES
    assert np.array_equal(read.panoptic(5).ids, panoptic.ids)
    assert read.panoptic(5).segments == panoptic.segments


def test_an_image_and_its_labels_have_the_same_name(split):
    folder = PanopticFolder(split)
    assert (split / "panoptic" / "a" / "b.png").is_file()
    assert folder.image(folder.records[0]).shape == (2, 3, 3)
    assert folder.panoptic(31).crowds == {70_000}
    assert len(folder) == 1
    assert 31 in folder
    assert 1 not in folder


def test_any_coco_json_is_read_with_the_pngs_next_to_it(split):
    (split / "panoptic.json").rename(split / "other.json")
    (split / "panoptic").rename(split / "other")
    assert np.array_equal(PanopticFolder(split / "other.json").panoptic(31).ids, IDS)


BAD_INDICES = [
    pytest.param(
        lambda index: index.pop("categories"),
        "panoptic.json: expected `categories` with",
        id="no-categories",
    ),
    pytest.param(
        lambda index: index["annotations"].append(index["annotations"][0]),
        "annotations: expected each image_id once, but got 31 in rows 0 and 1",
        id="repeated-image",
    ),
    pytest.param(
        lambda index: index["annotations"][0]["segments_info"][0].update(category_id=5),
        "has category 5, which is not in the category table",
        id="unknown-category",
    ),
]


@pytest.mark.parametrize(("change", "message"), BAD_INDICES)
def test_a_bad_index_is_refused(split, change, message):
    edit(split, change)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        PanopticFolder(split)
    assert message in str(caught.value)


BAD_LABELS = [
    pytest.param(
        lambda index: index["annotations"][0]["segments_info"].pop(),
        "[70000] are not",
        id="pixel-without-segment",
    ),
    pytest.param(
        lambda index: index["annotations"][0]["segments_info"].append({"id": 8, "category_id": 7}),
        "no pixel has them",
        id="segment-without-pixel",
    ),
    pytest.param(
        lambda index: index["annotations"][0].update(file_name="../../b.png"),
        "leaves the data folder",
        id="path-that-leaves-the-folder",
    ),
]


@pytest.mark.parametrize(("change", "message"), BAD_LABELS)
def test_labels_that_disagree_with_their_index_are_refused(split, change, message):
    edit(split, change)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        PanopticFolder(split).panoptic(31)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["../../b.jpg", "/tmp/b.jpg"])
def test_an_image_outside_its_folder_is_refused(split, name):
    edit(split, lambda index: index["images"][0].update(file_name=name))
    with pytest.raises(ValueError, match="leaves the data folder"):
        _ = PanopticFolder(split).records


def test_images_that_differ_only_in_the_ending_are_refused():
    records = [ImageRecord(1, "a/b.jpg", 2, 3), ImageRecord(2, "b.jpg", 2, 3)]
    require_distinct_png_names(records)
    with pytest.raises(ValueError, match=r"got a/b\.jpg and a/b\.png, .* written to a/b\.png"):
        require_distinct_png_names([*records, ImageRecord(3, "a/b.png", 2, 3)])


def test_an_image_without_annotation_is_refused(split):
    edit(split, lambda index: index["annotations"].clear())
    with pytest.raises(ValueError, match="expected an annotation for every image"):
        _ = PanopticFolder(split).records


def test_predictions_without_images_have_no_records(split):
    edit(split, lambda index: index.pop("images"))
    with pytest.raises(ValueError, match="expected `images` with their sizes"):
        _ = PanopticFolder(split).records


def test_an_image_whose_size_differs_from_the_index_is_refused(split):
    edit(split, lambda index: index["images"][0].update(height=5))
    folder = PanopticFolder(split)
    with pytest.raises(
        ValueError, match=r"expected 5 x 3 pixels as in panoptic\.json, but got 2 x 3"
    ):
        folder.image(folder.records[0])


def test_missing_labels_are_named(split):
    (split / "panoptic" / "a" / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"b\.png: expected an image here"):
        PanopticFolder(split).panoptic(31)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected a folder with panoptic\.json"):
        PanopticFolder(tmp_path)


def test_invalid_json_is_refused(tmp_path):
    (tmp_path / "panoptic.json").write_text("{")
    with pytest.raises(ValueError, match="expected JSON, but found"):
        PanopticFolder(tmp_path)


def test_a_pixel_with_an_id_that_the_index_lacks_is_refused(split):
    write_ids(split / "panoptic" / "a" / "b.png", np.full((2, 3), 4, np.int32))
    with pytest.raises(
        ValueError,
        match=r"b\.png \(image 31 of .*\): Expected every id of the map among the segments",
    ):
        PanopticFolder(split).panoptic(31)


@pytest.mark.slow
def test_a_changed_value_is_refused_by_name_or_changes_nothing_else(split):
    """Every value of the index replaced by each of the mutations: no other exception."""
    path = split / "panoptic.json"
    index = json.loads(path.read_text())
    index["categories"] = [row for row in index["categories"] if row["id"] in (7, 21)]
    for info in index["annotations"][0]["segments_info"]:
        del info["area"], info["bbox"]  # neither is read
    index["annotations"][0]["segments_info"][0]["score"] = 0.5
    messages = []
    for place, mutated in mutations(index):
        path.write_text(json.dumps(mutated))
        try:
            folder = PanopticFolder(split)
            for record in folder.records:
                folder.image(record)
                folder.panoptic(record.id)
        except (ValueError, FileNotFoundError) as error:
            messages.append(f"{place}: {error}")
    assert len(messages) > 600
    assert [text for text in messages if str(split) not in text or "\n" in text] == []


REFUSED = [
    ("annotations.0.segments_info.0.score", float("nan"), "expected a finite number at"),
    ("annotations.0.segments_info.0.score", True, "expected a valid number at"),
    ("annotations.0.segments_info.0.score", "0.5", "expected a valid number at"),
    ("annotations.0.segments_info.0.score", None, "expected a valid number at"),
    ("annotations.0.segments_info.0.iscrowd", "0", "expected 0, 1, True or False at"),
    ("annotations.0.segments_info.0.iscrowd", 2, "expected 0, 1, True or False at"),
    ("annotations.0.segments_info.0.id", "1", "expected a valid integer at"),
    ("annotations.0.segments_info.0.id", True, "expected a valid integer at"),
    ("annotations.0.segments_info.0.id", 0, "expected a number greater than or equal to 1 at"),
    ("annotations.0.segments_info.0.id", 2**24, "expected a number less than or equal to 16777215"),
    ("annotations.0.segments_info.0.id", 2, "image 31: expected each id once, but got 2 in rows"),
    ("annotations.0.segments_info.0", None, "segments_info[0] (of 'a/b.png'), but got None"),
    ("annotations.0.segments_info", {}, "expected a valid list at annotations[0].segments_info"),
    ("annotations.0.image_id", -1, "expected a number greater than or equal to 0 at"),
    ("annotations.0.file_name", 7, "expected a valid string at annotations[0].file_name"),
    ("images.0.height", "2", "expected a valid integer at images[0].height (of 'a/b.jpg')"),
    ("images.0.width", 0, "expected a number greater than or equal to 1 at images[0].width"),
    ("images", {}, "expected a valid list at images, but got {}"),
    ("categories.1.isthing", "no", "expected 0, 1, True or False at categories[1].isthing"),
]


@pytest.mark.parametrize(("place", "value", "message"), REFUSED)
def test_a_value_of_another_type_is_refused_with_file_place_and_fix(split, place, value, message):
    path = [int(step) if step.isdigit() else step for step in place.split(".")]
    index = json.loads((split / "panoptic.json").read_text())
    (split / "panoptic.json").write_text(json.dumps(changed(index, path, value)))
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        PanopticFolder(split)
    assert str(caught.value).startswith(f"{split / 'panoptic.json'}: ")
    assert message in str(caught.value)
    assert " - " in str(caught.value)


@pytest.mark.parametrize(
    ("table", "key", "message"),
    [
        ("images", "id", "images: expected each id once, but got 31 in rows 0 and 1 - remove one"),
        ("images", "file_name", "images: expected each file_name once, but got 'a/b.jpg' in rows"),
        ("annotations", "image_id", "annotations: expected each image_id once, but got 31 in rows"),
        ("annotations", "file_name", "expected each file_name once, but got 'a/b.png' in rows"),
    ],
)
def test_an_id_or_a_file_name_that_occurs_twice_is_refused(split, table, key, message):
    def repeat(index):
        other = {"id": 32, "image_id": 32, "file_name": "c.png"}
        for name in ("images", "annotations"):
            index[name].append(index[name][0] | other)
        index[table][1][key] = index[table][0][key]

    edit(split, repeat)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        _ = PanopticFolder(split).records
    assert message in str(caught.value)


def test_predictions_without_a_table_have_that_of_the_ground_truth(split):
    edit(split, lambda index: index.pop("categories"))
    assert PanopticFolder(split, expected=CATEGORIES).categories == CATEGORIES


def test_a_part_of_a_folder_has_the_labels_of_its_images(split):
    folder = PanopticFolder(split)
    part = folder.only(folder.records)
    assert np.array_equal(part.panoptic(31).ids, IDS)
    assert len(folder.only([])) == 0
