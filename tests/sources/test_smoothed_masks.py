"""Masks whose borders were smoothed: the finding proposes what reads them."""

import io
import re

import cv2
import numpy as np
import pytest
from PIL import Image

from maskmill.canonical.png import write_rgb
from maskmill.sources.class_masks import ClassMasks
from maskmill.sources.finding import Findings
from maskmill.sources.instance_masks import InstanceMasks
from maskmill.sources.label_images import ColorImage, IndexImage
from maskmill.sources.pairs import FolderPairs

SIDE = 96
DISC = np.hypot(*np.mgrid[-48:48, -48:48]) < 25  # 1,951 pixels
MASK = np.where(DISC, 255, 0).astype(np.uint8)
MAX_SHRINKAGE = 0.03  # of the image: a disc that is blurred by 10 pixels becomes smaller
TWO = [{"id": 0, "name": "skin"}, {"id": 1, "name": "lesion"}]
THREE = [*TWO, {"id": 2, "name": "hair"}]
COLORS = [
    {"id": 1, "name": "road", "color": [128, 64, 128]},
    {"id": 2, "name": "tree", "color": [0, 160, 0]},
]


def blurred(mask, sigma):
    return cv2.GaussianBlur(mask, (0, 0), sigma)


def resized(mask, size):
    return cv2.resize(cv2.resize(mask, (size, size)), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


def jpeg(mask, quality):
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "JPEG", quality=quality)
    return np.array(Image.open(buffer))


SMOOTHED = {
    "blur-0.5": blurred(MASK, 0.5),
    "blur-2": blurred(MASK, 2),
    "blur-5": blurred(MASK, 5),
    "blur-10": blurred(MASK, 10),
    "half": resized(MASK, 48),
    "sixth": resized(MASK, 16),
    "jpeg": jpeg(MASK, 50),
}


def source(root, mask, table, **options):
    write_rgb(root / "images" / "a.png", np.zeros((SIDE, SIDE, 3), np.uint8))
    (root / "labels").mkdir(exist_ok=True)
    Image.fromarray(mask).save(root / "labels" / "a.png")
    return ClassMasks(root, [FolderPairs("images", "labels", {"train": 1.0})], table, **options)


def read(made):
    return made.read(made.samples(Findings())[0], Findings()).category_map()


@pytest.mark.parametrize("ids", [(0, 1), (0, 255)])
@pytest.mark.parametrize("kind", SMOOTHED)
def test_a_smoothed_binary_mask_gets_a_threshold_that_reads_it(tmp_path, kind, ids):
    table = [{"id": number, "name": f"class {number}"} for number in ids]
    made = source(tmp_path, SMOOTHED[kind], table)
    with pytest.raises(ValueError, match="stray values along borders") as caught:
        read(made)
    fix = (
        r" - either set `labels: {_target_: maskmill.sources.label_images.IndexImage, threshold: "
        r"(\d+)}` in conf/source or export the labels again"
    )
    threshold = int(re.search(fix, str(caught.value))[1])
    assert 120 <= threshold <= 128  # half of the highest level, which blurring lowers
    labels = IndexImage(threshold=threshold)
    classes = read(source(tmp_path, SMOOTHED[kind], table, labels=labels))
    assert set(np.unique(classes)) == set(ids)
    assert ((classes == ids[1]) != DISC).mean() < MAX_SHRINKAGE


def test_a_smoothed_mask_of_three_classes_is_exported_again(tmp_path):
    with pytest.raises(ValueError, match="stray values along borders, .* - export the labels"):
        read(source(tmp_path, SMOOTHED["blur-5"], THREE))


def test_a_mask_of_0_and_255_gets_a_threshold_too(tmp_path):
    message = r"got \[255\] - either add them .*, or, if the mask has two values, set .*: 128}"
    with pytest.raises(ValueError, match=message):
        read(source(tmp_path, MASK, TWO))
    classes = read(source(tmp_path, MASK, TWO, labels=IndexImage(threshold=128)))
    assert np.array_equal(classes == 1, DISC)


def test_missing_classes_are_not_taken_for_smoothing(tmp_path):
    labels = np.repeat(np.arange(8, dtype=np.uint8), SIDE // 8)[None].repeat(SIDE, axis=0)
    message = r"but got \[3, 4, 5, 6, 7\] - add them to one of the two"
    with pytest.raises(ValueError, match=message):
        read(source(tmp_path, np.ascontiguousarray(labels), THREE))


def test_a_threshold_needs_two_classes(tmp_path):
    with pytest.raises(ValueError, match=r"a\.png: Expected two categories for `threshold`"):
        read(source(tmp_path, MASK, THREE, labels=IndexImage(threshold=128)))


@pytest.mark.parametrize("sigma", [0.5, 2, 5])
def test_smoothed_colours_get_the_nearest_class(tmp_path, sigma):
    colors = np.where(DISC[..., None], [0, 160, 0], [128, 64, 128]).astype(np.uint8)
    labels = blurred(colors, sigma)
    with pytest.raises(ValueError, match="along borders, .* - either set `nearest: true` of Color"):
        read(source(tmp_path, labels, COLORS, labels=ColorImage()))
    classes = read(source(tmp_path, labels, COLORS, labels=ColorImage(nearest=True)))
    assert ((classes == 2) != DISC).mean() < MAX_SHRINKAGE


def test_the_nearest_colour_is_that_of_the_smallest_euclidean_distance(tmp_path):
    colors = np.array([[(128, 64, 128), (0, 160, 0), (1, 150, 9), (90, 90, 90), (250, 250, 250)]])
    made = source(tmp_path, colors.astype(np.uint8), COLORS)
    image = ColorImage([(255, 255, 255)], nearest=True)
    classes = image.read(tmp_path / "labels" / "a.png", made.categories)
    assert classes.tolist() == [[1, 2, 2, 1, -1]]


@pytest.mark.parametrize("kind", SMOOTHED)
def test_a_smoothed_object_mask_gets_a_threshold_that_reads_it(tmp_path, kind):
    write_rgb(tmp_path / "set" / "a" / "images" / "a.png", np.zeros((SIDE, SIDE, 3), np.uint8))
    (tmp_path / "set" / "a" / "masks").mkdir()
    Image.fromarray(SMOOTHED[kind]).save(tmp_path / "set" / "a" / "masks" / "1.png")
    settings = (tmp_path, "set", {"id": 1, "name": "cell"}, {"train": 1.0})
    made = InstanceMasks(*settings)
    message = r"either set `threshold: 12\d` in conf/source or save it"
    with pytest.raises(ValueError, match=message):
        read(made)
    classes = read(InstanceMasks(*settings, threshold=124))
    assert ((classes == 1) != DISC).mean() < MAX_SHRINKAGE
