import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from maskmill.assembly.build import build
from maskmill.canonical.png import write_labels, write_rgb
from maskmill.sources.finding import Findings
from maskmill.sources.instance_masks import InstanceMasks
from maskmill.sources.source import Source

FIRST = np.zeros((10, 10), np.uint8)
FIRST[:5] = 255  # rows 0..4
SECOND = np.zeros((10, 10), np.uint8)
SECOND[4:9] = 255  # rows 4..8: a fifth of it lies in the first


@pytest.fixture
def root(tmp_path):
    write_rgb(tmp_path / "all" / "x" / "images" / "x.png", np.zeros((10, 10, 3), np.uint8))
    write_labels(tmp_path / "all" / "x" / "masks" / "1.png", FIRST)
    write_labels(tmp_path / "all" / "x" / "masks" / "2.png", SECOND)
    return tmp_path


def source_of(root, **options):
    return InstanceMasks(root, "all", {"id": 5, "name": "nucleus"}, {"train": 1.0}, **options)


def read(source):
    return source.read(source.samples(Findings())[0], Findings())


def test_a_pixel_of_two_masks_belongs_to_the_first(root):
    panoptic = read(source_of(root, max_overlap=0.2))
    assert panoptic.ids[:, 0].tolist() == [1, 1, 1, 1, 1, 2, 2, 2, 2, 0]
    assert panoptic.category_of == {1: 5, 2: 5}


def test_masks_that_truly_overlap_are_refused(root):
    with pytest.raises(
        ValueError,
        match=r"2\.png: expected separate objects, but 20% of this one lie in earlier masks",
    ):
        read(source_of(root, max_overlap=0.19))


def test_the_only_category_is_a_thing(root):
    assert source_of(root).categories.background_index == 1


BAD_MASKS = [
    pytest.param(
        np.zeros((10, 10), np.uint8),
        "expected a mask of one object, but no pixel is set",
        id="empty",
    ),
    pytest.param(
        np.arange(100, dtype=np.uint8).reshape(10, 10),
        "expected a mask of 0 and one other value",
        id="smoothed",
    ),
    pytest.param(
        np.full((10, 11), 255, np.uint8), "expected labels of 10 x 10 pixels", id="other-size"
    ),
]


@pytest.mark.parametrize(("mask", "message"), BAD_MASKS)
def test_an_invalid_mask_is_refused_with_its_path(root, mask, message):
    path = root / "all" / "x" / "masks" / "2.png"
    write_labels(path, mask)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        read(source_of(root))
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_an_image_without_masks_is_refused(root):
    for path in (root / "all" / "x" / "masks").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match="expected a mask per object"):
        read(source_of(root))


def test_two_images_in_a_folder_are_a_finding(root):
    Image.new("RGB", (10, 10)).save(root / "all" / "x" / "images" / "y.png")
    Image.new("RGB", (10, 10)).save(root / "all" / "x" / "images" / "z.png")
    findings = Findings()
    with pytest.raises(ValueError, match="expected images in every split"):
        source_of(root).samples(findings)
    assert "expected one image, but found 3" in findings[0].what


def test_an_overlap_of_everything_is_refused(root):
    config = {
        "_target_": "maskmill.sources.instance_masks.InstanceMasks",
        "root": str(root),
        "folder": "all",
        "category": {"id": 5, "name": "nucleus"},
        "splits": {"train": 1.0},
        "max_overlap": 1.0,
    }
    with pytest.raises(ValueError, match=r"source\.max_overlap: .* less than 1 - set another"):
        build(OmegaConf.create({"source": config}).source, Source)
