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
        lambda index: index.pop("categories"), "but it lacks ['categories']", id="no-categories"
    ),
    pytest.param(
        lambda index: index["annotations"].append(index["annotations"][0]),
        "but got an image_id twice",
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
