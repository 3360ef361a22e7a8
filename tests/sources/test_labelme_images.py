"""The image that a labelme file names is one of the data set's folder."""

import numpy as np
import pytest

from maskmill.canonical.files import write_json
from maskmill.canonical.png import write_rgb
from maskmill.sources.finding import Findings
from maskmill.sources.labelme import Labelme


@pytest.fixture
def root(tmp_path):
    """A labelled image, another image of the data set, and one outside its folder."""
    for name in ("data/all/a.png", "data/images/b.png", "private/secret.png"):
        write_rgb(tmp_path / name, np.full((12, 16, 3), 90, np.uint8))
    write(tmp_path / "data", "a", "a.png")
    return tmp_path / "data"


def write(root, name, image_path):
    content = {"imagePath": image_path, "imageHeight": 12, "imageWidth": 16, "shapes": []}
    write_json(root / "all" / f"{name}.json", content)


def listed(root):
    findings = Findings()
    samples = Labelme(root, "all", {"cat": 1}, {"train": 1.0}).samples(findings)
    return {sample.name: sample.image for sample in samples}, findings


@pytest.mark.parametrize("name", ["../images/b.png", "..\\images\\b.png", ".././images//b.png"])
def test_an_image_elsewhere_in_the_data_set_is_found(root, name):
    write(root, "b", name)
    images, findings = listed(root)
    assert images["b"] == root / "images" / "b.png"
    assert findings == []


@pytest.mark.parametrize(
    "name",
    [
        "../../private/secret.png",
        "..\\..\\private\\secret.png",
        "{root}/../private/secret.png",
        "{root}/all/a.png",
        "C:\\private\\secret.png",
        "\\\\server\\share\\secret.png",
        "link/secret.png",
        "secret.png",
        "a.png\0",
    ],
)
def test_an_image_outside_the_data_set_is_an_error(root, name):
    (root / "all" / "link").symlink_to(root.parent / "private")
    (root / "all" / "secret.png").symlink_to(root.parent / "private" / "secret.png")
    write(root, "b", name.format(root=root))
    images, findings = listed(root)
    assert images.keys() == {"a"}
    errors = [finding for finding in findings if finding.file == str(root / "all" / "b.json")]
    assert [finding.severity for finding in errors] == ["error"]
    assert f"expected an imagePath in the data set's folder {root}, but got" in errors[0].what
    assert errors[0].fix.startswith("copy the image there")


def test_a_data_set_whose_files_are_all_links_is_read(root, tmp_path):
    """DVC can link each file of a data set to its cache."""
    linked = tmp_path / "linked" / "all"
    linked.mkdir(parents=True)
    for name in ("a.png", "a.json"):
        (linked / name).symlink_to(root / "all" / name)
    images, findings = listed(tmp_path / "linked")
    assert images == {"a": linked / "a.png"}
    assert findings == []
