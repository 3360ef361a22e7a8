import shutil

import numpy as np
import pytest

from maskmill.canonical.files import read_json, write_json
from maskmill.canonical.folder import ImageRecord, PanopticFolder, write_index, write_panoptic
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import write_rgb
from maskmill.sources.coco_panoptic import CocoPanoptic, CocoPart
from maskmill.sources.convert import Converter
from maskmill.sources.finding import Findings
from strategies import CATEGORIES

IDS = np.array([[0, 900_000, 900_000], [4, 4, 5]], np.int32)


@pytest.fixture
def root(tmp_path):
    """Two images of 2 x 3 pixels in COCO's layout."""
    records = []
    rows = []
    labels = Panoptic.from_ids(IDS, {900_000: 7, 4: 21, 5: 21}, crowds={5})
    for image_id in (139, 285):
        record = ImageRecord(image_id, f"{image_id:012d}.jpg", 2, 3)
        write_rgb(tmp_path / "val2017" / record.file_name, np.zeros((2, 3, 3), np.uint8))
        records.append(record)
        rows.append(write_panoptic(tmp_path, record, labels))
    write_index(tmp_path, CATEGORIES, records, rows)
    (tmp_path / "panoptic").rename(tmp_path / "panoptic_val")
    (tmp_path / "panoptic.json").rename(tmp_path / "panoptic_val.json")
    return tmp_path


def source_of(root):
    return CocoPanoptic(root, [CocoPart("panoptic_val.json", "val2017", {"val": 1.0})])


def edit(root, change):
    index = read_json(root / "panoptic_val.json")
    change(index)
    write_json(root / "panoptic_val.json", index)


def test_the_data_sets_own_ids_and_crowds_are_kept(root, tmp_path):
    Converter(tmp_path / "out", workers=1).convert(source_of(root))
    folder = PanopticFolder(tmp_path / "out" / "val")
    assert [record.id for record in folder.records] == [139, 285]
    panoptic = folder.panoptic(285)
    assert np.array_equal(panoptic.ids, IDS)
    assert panoptic.category_of == {900_000: 7, 4: 21, 5: 21}
    assert panoptic.crowds == {5}


def test_the_table_comes_from_the_reading_of_the_samples(root):
    source = source_of(root)
    assert len(source.samples(Findings())) == 2
    (root / "panoptic_val.json").unlink()
    assert source.categories == CATEGORIES


def test_the_images_of_a_part_can_be_assigned_to_two_splits(root):
    part = CocoPart("panoptic_val.json", "val2017", {"a": 0.5, "b": 0.5}, seed=2)
    samples = CocoPanoptic(root, [part]).samples(Findings())
    splits = {sample.name: sample.split for sample in samples}
    assert sorted(splits.values()) == ["a", "b"]
    assert part.split.split_name("000000000139") == splits["000000000139"]


def first(index):
    return index["annotations"][0]


BAD_SAMPLES = [
    pytest.param(
        lambda index: first(index)["segments_info"][0].update(category_id=99),
        "but segments_info has [99]",
        id="unknown-category",
    ),
    pytest.param(
        lambda index: first(index)["segments_info"].pop(0),
        "Expected every id of the map among the segments",
        id="unknown-id",
    ),
    pytest.param(
        lambda index: first(index)["segments_info"].append({"id": 8, "category_id": 7}),
        "ids [8] have none",
        id="no-pixel",
    ),
    pytest.param(
        lambda index: first(index)["segments_info"].append(first(index)["segments_info"][0]),
        "but one is repeated",
        id="id-twice",
    ),
]


@pytest.mark.parametrize(("change", "message"), BAD_SAMPLES)
def test_labels_that_disagree_with_the_json_are_refused_with_their_path(root, change, message):
    edit(root, change)
    source = source_of(root)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        source.read(source.samples(Findings())[0], Findings())
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(root / "panoptic_val" / "000000000139.png"))


BAD_INDICES = [
    pytest.param(lambda index: index.pop("images"), "lacks ['images']", id="no-images"),
    pytest.param(
        lambda index: index.update(images={}), "`images` as a list of rows", id="images-by-key"
    ),
    pytest.param(
        lambda index: index.update(categories=[{"id": 7}]),
        "expected `name` in categories[0] (id 7), but it is missing",
        id="category-without-name",
    ),
    pytest.param(
        lambda index: index.update(images=[], annotations=[]), "found none for val", id="no-image"
    ),
]


def check(source):
    """List the samples and read the category table."""
    return source.categories, source.samples(Findings())


@pytest.mark.parametrize(("change", "message"), BAD_INDICES)
def test_an_invalid_json_file_is_refused(root, change, message):
    edit(root, change)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        check(source_of(root))
    assert message in str(caught.value)
    assert str(root) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        pytest.param(
            lambda index: index["annotations"].append(first(index)),
            [
                "one annotation per image, but annotations[0] is one of 2 of image 139",
                "one annotation per image, but annotations[2] is one of 2 of image 139",
                "but 000000000139.jpg has none",
            ],
            id="annotation-twice",
        ),
        pytest.param(
            lambda index: index["images"][0].update(file_name="../x.jpg"),
            ["val2017, but that of images[0] (id 139) is '../x.jpg'"],
            id="outside-the-folder",
        ),
    ],
)
def test_an_image_with_an_invalid_row_is_left_out_and_the_others_are_read(root, change, messages):
    edit(root, change)
    findings = Findings()
    samples = source_of(root).samples(findings)
    assert [sample.image_id for sample in samples] == [285]
    assert {(item.severity, item.file) for item in findings} == {
        ("error", str(root / "panoptic_val.json"))
    }
    for finding, message in zip(findings, messages, strict=True):
        assert message in finding.what


def test_an_image_without_annotation_and_one_without_image_are_findings(root):
    edit(root, lambda index: index["annotations"][-1].update(image_id=77))
    findings = Findings()
    source_of(root).samples(findings)
    assert [finding.severity for finding in findings] == ["error", "error"]
    assert "no image 77" in findings[0].what
    assert "000000000285.jpg has none" in findings[1].what


def test_a_wrong_area_and_a_wrong_bbox_are_warnings(root):
    edit(root, lambda index: first(index)["segments_info"][0].update(area=3, bbox=[0, 0, 1, 1]))
    source = source_of(root)
    findings = Findings()
    source.read(source.samples(findings)[0], findings)
    assert [finding.severity for finding in findings] == ["warning", "warning"]
    assert "segments_info has 3" in findings[0].what
    assert "segments_info has [0, 0, 1, 1]" in findings[1].what


def test_parts_of_different_tables_are_refused(root):
    shutil.copy(root / "panoptic_val.json", root / "panoptic_train.json")
    edit(root, lambda index: index["categories"].pop())
    train = CocoPart("panoptic_train.json", "val2017", {"train": 1.0})
    val = CocoPart("panoptic_val.json", "val2017", {"val": 1.0})
    parts = [train, val]
    message = "expected one category table, but panoptic_train.json and panoptic_val.json differ"
    with pytest.raises(ValueError, match=message):
        _ = CocoPanoptic(root, parts).categories


def test_a_source_without_parts_is_refused(root):
    with pytest.raises(ValueError, match="Expected at least one part"):
        CocoPanoptic(root, [])
