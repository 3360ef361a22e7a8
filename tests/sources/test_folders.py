"""Which files of a folder belong to the data set."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from maskmill.canonical.png import write_labels, write_rgb
from maskmill.sources.class_masks import ClassMasks
from maskmill.sources.convert import Converter
from maskmill.sources.examine import keep_unique
from maskmill.sources.finding import Findings
from maskmill.sources.folders import _entries, list_files, list_images
from maskmill.sources.pairs import FolderPairs, ListedPairs, NamedPairs
from maskmill.sources.source import Sample

IMAGE = np.zeros((4, 5, 3), np.uint8)
LABELS = np.arange(20, dtype=np.uint8).reshape(4, 5) % 2
TABLE = [{"id": 0, "name": "soil"}, {"id": 1, "name": "weed"}]


def names(paths, root):
    return [path.relative_to(root).as_posix() for path in paths]


def touch(root, *files):
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()


def pair(root, name, image_ending=".png", label_ending=".png"):
    write_rgb(root / "images" / f"{name}.png", IMAGE).rename(
        root / "images" / f"{name}{image_ending}"
    )
    write_labels(root / "labels" / f"{name}.png", LABELS).rename(
        root / "labels" / f"{name}{label_ending}"
    )


def prepared(root, *rules):
    """The names of the images that are converted, and the findings."""
    dataset = Converter(root / "out", workers=1, on_problem="exclude").convert(
        ClassMasks(root, rules, TABLE)
    )
    images = sorted((root / "out" / "train" / "images").rglob("*.png"))
    return names(images, root / "out" / "train" / "images"), dataset["findings"]


def test_hidden_and_system_files_are_left_out_and_counted(tmp_path):
    touch(tmp_path, "a.jpg", "._a.jpg", ".ipynb_checkpoints/a.jpg", "Thumbs.db", "d/.DS_Store")
    touch(tmp_path, "__MACOSX/b.jpg", "d/b.jpg")
    findings = Findings()
    assert names(list_images(tmp_path, findings), tmp_path) == ["a.jpg", "d/b.jpg"]
    assert [(finding.severity, finding.file) for finding in findings] == [("note", str(tmp_path))]
    assert "found 5 hidden or system files and folders (.DS_Store, ._a.jpg" in findings[0].what


def test_images_of_a_format_that_is_not_read_are_counted(tmp_path):
    touch(tmp_path, "a.HEIC", "b.heic", "c.JPG", "notes.txt")
    findings = Findings()
    assert names(list_images(tmp_path, findings), tmp_path) == ["c.JPG"]
    assert "but found 2 .heic" in findings[0].what
    assert findings[0].fix == "convert them to PNG, or they are left out"


def test_links_to_folders_are_followed_once_and_never_in_a_circle(tmp_path):
    touch(tmp_path, "set/images/day1/a.png", "elsewhere/b.png", "elsewhere/deep/c.png")
    images = tmp_path / "set" / "images"
    (images / "day2").symlink_to(tmp_path / "elsewhere")
    (images / "a_copy").symlink_to("day1")
    (images / "circle").symlink_to(tmp_path / "set")
    (images / "b.png").symlink_to(tmp_path / "elsewhere" / "b.png")
    (images / "missing.png").symlink_to("nowhere.png")
    findings = Findings()
    assert names(list_files(images, findings), images) == [
        *("b.png", "day1/a.png", "day2/b.png", "day2/deep/c.png", "missing.png"),
    ]
    linked = [(finding.severity, Path(finding.file).name) for finding in findings]
    assert linked == [("note", "a_copy"), ("note", "circle")]
    assert "its files are listed already" in findings[0].what


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path):
    findings = Findings()
    assert _entries(tmp_path / "gone", findings) == []
    assert str(findings[0]).endswith(
        "gone: expected a folder that can be read, but got No such file or directory - "
        "change its permissions"
    )
    assert findings[0].severity == "error"


def test_endings_in_capitals_dots_and_long_names_are_read(tmp_path):
    long = "n" * 251
    pair(tmp_path, "IMG_1", ".JPG", ".PNG")
    pair(tmp_path, "a.b.c", ".Jpeg", ".png")
    pair(tmp_path, "deep/day.1/x", ".TIF", ".png")
    pair(tmp_path, long, ".png", ".png")
    assert prepared(tmp_path, FolderPairs("images", "labels", {"train": 1.0})) == (
        ["IMG_1.png", "a.b.c.png", "deep/day.1/x.png", f"{long}.png"],
        [],
    )


@pytest.mark.parametrize("form_of_images", ["NFC", "NFD"])
@pytest.mark.parametrize("rule", ["folder", "list", "names"])
def test_names_in_another_unicode_form_are_matched(tmp_path, form_of_images, rule):
    other = {"NFC": "NFD", "NFD": "NFC"}[form_of_images]
    image = unicodedata.normalize(form_of_images, "Straße/Käfer")
    labels = unicodedata.normalize(other, "Straße/Käfer")
    write_rgb(tmp_path / "images" / f"{image}.png", IMAGE)
    write_labels(tmp_path / "labels" / f"{labels}.png", LABELS)
    (tmp_path / "pairs.txt").write_text(f"images/{labels}.png labels/{image}.png\n")
    (tmp_path / "names.txt").write_text(f"{labels}\n")
    rules = {
        "folder": FolderPairs("images", "labels", {"train": 1.0}),
        "list": ListedPairs("pairs.txt", {"train": 1.0}),
        "names": NamedPairs("names.txt", "images/{}.png", "labels/{}.png", {"train": 1.0}),
    }
    found, findings = prepared(tmp_path, rules[rule])
    assert len(found) == 1
    assert findings == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_lists_of_windows_programs_are_read(tmp_path, encoding):
    pair(tmp_path, "day/a")
    text = "C:\\set\\images\\day\\a.png\tC:\\set\\labels\\day\\a.png\r\n"
    (tmp_path / "pairs.txt").write_bytes(text.encode(encoding))
    found = prepared(tmp_path, ListedPairs("pairs.txt", {"train": 1.0}, prefix="C:\\set\\"))
    assert found == (["a.png"], [])


def sample(name, split="train"):
    return Sample(split, name, Path(f"{name}.png"), Path("labels.png"))


BAD_NAMES = [
    pytest.param("n" * 252, "at most 255 bytes with its ending, but got 256", id="long"),
    pytest.param("ä" * 128 + "/b", "at most 255 bytes with its ending, but got 256", id="folder"),
    pytest.param("../../b", "expected a name below its folder, but got '../../b'", id="parent"),
    pytest.param("/tmp/b", "expected a name below its folder, but got '/tmp/b'", id="absolute"),
    pytest.param("b\ud800", "expected a name below its folder, but got", id="not-encodable"),
]


@pytest.mark.parametrize(("name", "message"), BAD_NAMES)
def test_a_name_that_no_file_can_have_is_a_finding(name, message):
    findings = Findings()
    kept = keep_unique([sample("a"), sample(name)], findings)
    assert [each.name for each in kept] == ["a"]
    assert message in findings[0].what
    assert findings[0].fix.startswith("rename the image")


@pytest.mark.parametrize("split", ["", "..", "../../x", "a/b", "a\\b"])
def test_a_split_is_one_folder(split):
    with pytest.raises(ValueError, match="names of splits without slashes, but got .* - rename it"):
        keep_unique([sample("a", split)], Findings())
