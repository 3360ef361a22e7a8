from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskmill.canonical.png import write_labels, write_rgb
from maskmill.sources.class_masks import ClassMasks
from maskmill.sources.examine import examine
from maskmill.sources.finding import Findings
from maskmill.sources.label_images import ColorImage, IndexImage
from maskmill.sources.pairs import FolderPairs, ListedPairs
from maskmill.sources.source import Source

TABLE = [{"id": 0, "name": "soil"}, {"id": 7, "name": "weed"}]
LABELS = np.array([[0, 0, 7], [7, 9, 0]], np.uint8)


@pytest.fixture
def root(tmp_path):
    """Four pairs of 2 x 3 pixels, in folders and in a list."""
    for name in ("a", "b", "sub/c", "sub/d"):
        write_rgb(tmp_path / "images" / f"{name}.png", np.zeros((2, 3, 3), np.uint8))
        write_labels(tmp_path / "labels" / f"{name}.png", LABELS)
    lines = [f"/old/folder/images/{name}.png /old/folder/labels/{name}.png" for name in ("b", "a")]
    (tmp_path / "list.txt").write_text("\n".join(lines) + "\n\n")
    return tmp_path


def listed(root, **options):
    pairs = ListedPairs("list.txt", {"train": 1.0}, **({"prefix": "/old/folder/"} | options))
    return ClassMasks(root, [pairs], TABLE, void_ids=[9])


def test_each_class_is_a_segment_and_void_is_none(root):
    source = listed(root)
    panoptic = source.read(source.samples(Findings())[0], Findings())
    assert panoptic.ids.tolist() == [[1, 1, 8], [8, 0, 1]]
    assert panoptic.category_of == {1: 0, 8: 7}


@pytest.mark.parametrize(
    ("labels", "classes"),
    [([[0, 7, 9]], {0, 7}), ([[9, 0, 0]], {0}), ([[9, 9, 9]], set()), ([[0, 8, 7]], set())],
    ids=["both and void", "one and void", "only void, an error", "unknown, an error"],
)
def test_the_classes_of_a_mask_are_those_of_its_segments(root, labels, classes):
    source = listed(root)
    sample = source.samples(Findings())[0]
    write_labels(sample.labels, np.array(labels, np.uint8))
    assert source.classes_of(sample) == classes
    assert Source.classes_of(source, sample) == classes


def test_a_list_is_read_in_its_order_without_the_prefix(root):
    samples = listed(root).samples(Findings())
    assert [sample.name for sample in samples] == ["b", "a"]
    assert samples[0].image == root / "images" / "b.png"
    assert samples[0].labels == root / "labels" / "b.png"


def test_subfolders_are_searched(root):
    source = ClassMasks(root, [FolderPairs("images", "labels", {"train": 1.0})], TABLE)
    samples = source.samples(Findings())
    assert [sample.name for sample in samples] == ["a", "b", "sub/c", "sub/d"]
    assert samples[2].labels == root / "labels" / "sub" / "c.png"


def test_labels_can_have_another_ending_than_images(root):
    for path in sorted((root / "labels").rglob("*.png")):
        path.rename(path.with_name(f"{path.stem}_gt.png"))
    pairs = FolderPairs("images", "labels", {"train": 1.0}, label_ending="_gt.png")
    samples = ClassMasks(root, [pairs], TABLE).samples(Findings())
    assert all(sample.labels.is_file() for sample in samples)


def test_labels_without_an_image_are_a_finding(root):
    (root / "images" / "b.png").unlink()
    findings = Findings()
    ClassMasks(root, [FolderPairs("images", "labels", {"train": 1.0})], TABLE).samples(findings)
    assert [finding.severity for finding in findings] == ["error"]
    assert findings[0].file == str(root / "labels" / "b.png")
    assert findings[0].fix == "either add the image or remove the labels"


BAD_LINES = [
    pytest.param("images/a.png", "line 1: expected an image and its labels", id="one-word"),
    pytest.param(
        "/elsewhere/a.png /old/folder/labels/a.png", "both under '/old/folder/'", id="other-prefix"
    ),
    pytest.param(
        "/old/folder/../a.png /old/folder/labels/a.png",
        "leaves the data folder",
        id="outside-the-folder",
    ),
    pytest.param("", "expected images in every split, but found none for train", id="empty"),
]


@pytest.mark.parametrize(("line", "message"), BAD_LINES)
def test_an_invalid_list_is_refused(root, line, message):
    (root / "list.txt").write_text(line)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        listed(root).samples(Findings())
    assert message in str(caught.value)


def test_a_missing_list_is_named(root):
    (root / "list.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"list\.txt: expected a list of images and labels"):
        listed(root).samples(Findings())


def test_an_id_outside_the_table_is_refused_with_the_path(root):
    write_labels(root / "labels" / "b.png", np.full((2, 3), 12, np.uint8))
    source = listed(root)
    with pytest.raises(
        ValueError,
        match=r"b\.png: expected ids of the category table or void ids, but got \[12\] - add them",
    ):
        source.read(source.samples(Findings())[0], Findings())


@pytest.mark.parametrize("relative", [pytest.param(False, id="/"), pytest.param(True, id=".")])
@pytest.mark.parametrize(
    ("labels", "what"),
    [
        (
            ColorImage(),
            "expected colours of the category table, but got [(9, 9, 9)] - "
            "add them either to the table or to void_colors",
        ),
        (
            IndexImage(),
            "expected one channel of labels, but got RGB - save class ids as a gray or palette PNG",
        ),
    ],
    ids=["colours", "indices"],
)
def test_a_finding_names_its_file_once(root, labels, what, relative, monkeypatch):
    monkeypatch.chdir(root)
    write_rgb(root / "labels" / "a.png", np.full((2, 3, 3), 9, np.uint8))
    folder = Path() if relative else root
    pairs = FolderPairs("images", "labels", {"train": 1.0})
    source = ClassMasks(folder, [pairs], TABLE, labels=labels)
    sample = source.samples(Findings())[0]
    (finding,) = examine(source, sample, max_pixels=None).findings
    assert str(finding) == f"{folder / 'labels' / 'a.png'}: {what}"


def test_palette_labels_are_read_by_index(root):
    image = Image.fromarray(LABELS)
    image.putpalette([value for index in range(256) for value in (255 - index, index, 3)])
    image.save(root / "labels" / "b.png")
    source = listed(root)
    assert source.read(source.samples(Findings())[0], Findings()).category_map().tolist() == [
        [0, 0, 7],
        [7, -1, 0],
    ]


def test_things_are_refused_since_a_class_mask_cannot_separate_them(root):
    with pytest.raises(
        ValueError, match=r"Expected stuff only, .* but got things \['weed'\] - set isthing: 0"
    ):
        ClassMasks(root, [], [{"id": 7, "name": "weed", "isthing": 1}])


def test_a_class_cannot_be_void_too(root):
    message = r"Expected void ids that are not in the category table, but got \[7\] in both"
    with pytest.raises(ValueError, match=message):
        ClassMasks(root, [], TABLE, void_ids=[7])
