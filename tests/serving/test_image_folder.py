"""Folders of images to predict: read as `prepare` reads them, or refused with the same words."""

import numpy as np
import pytest
from PIL import Image

from maskmill.serving.image_folder import find_images
from maskmill.sources.finding import Findings
from maskmill.sources.images import read_image

RGB = np.kron(np.random.default_rng(0).integers(0, 256, (3, 4, 3)), np.ones((8, 8, 1)))
PHOTO = Image.fromarray(RGB.astype(np.uint8))
ROTATED = Image.Exif()
ROTATED[0x0112] = 6


def transparent():
    image = PHOTO.convert("RGBA")
    image.putalpha(Image.fromarray(np.arange(24 * 32, dtype=np.uint8).reshape(24, 32)))
    return image


READABLE = {
    "a.png": (PHOTO, {}),
    "b.JPG": (PHOTO, {}),
    "c.gif": (PHOTO.convert("P"), {}),
    "d.tif": (PHOTO.convert("L"), {}),
    "e.webp": (PHOTO, {"lossless": True}),
    "f.png": (PHOTO.quantize(16), {}),
    "g.png": (transparent(), {}),
    "h.jpg": (PHOTO, {"exif": ROTATED}),
    "i.bmp": (PHOTO, {}),
}
TWELVE_BITS = Image.fromarray((np.arange(24 * 32).reshape(24, 32) % 4096).astype(np.uint16))
REFUSED = {
    "a.png": (TWELVE_BITS, {}, "expected 8 bits per channel, but got more (I;16)"),
    "b.tif": (TWELVE_BITS, {}, "expected 8 bits per channel, but got more (I;16)"),
    "c.jpg": (PHOTO.convert("CMYK"), {}, "expected RGB or gray, but got CMYK"),
    "d.tif": (
        PHOTO,
        {"save_all": True, "append_images": [PHOTO]},
        "expected one picture, but the file contains 2",
    ),
    "e.gif": (
        PHOTO,
        {"save_all": True, "append_images": [transparent()]},
        "expected one picture, but the file contains 2",
    ),
}


@pytest.mark.parametrize("name", READABLE)
def test_an_image_looks_as_it_does_in_prepared_data(tmp_path, name):
    image, options = READABLE[name]
    image.save(tmp_path / name, **options)
    images = find_images(tmp_path)
    (rgb,) = images
    assert np.array_equal(rgb, read_image(tmp_path / name, Findings()).rgb)
    record = images.records[0]
    assert (record.file_name, record.height, record.width) == (name, *rgb.shape[:2])


def test_transparent_and_rotated_images_are_reported(tmp_path):
    for name in ("g.png", "h.jpg"):
        image, options = READABLE[name]
        image.save(tmp_path / name, **options)
    words = ["pixels are transparent", "its EXIF tag rotates it"]
    findings = find_images(tmp_path).findings
    assert [
        word for word, finding in zip(words, findings, strict=True) if word in finding.what
    ] == (words)


@pytest.mark.parametrize("name", REFUSED)
def test_an_image_that_prepare_refuses_is_refused_with_the_same_words(tmp_path, name):
    image, options, found = REFUSED[name]
    image.save(tmp_path / name, **options)
    PHOTO.save(tmp_path / "z.png")
    with pytest.raises(ValueError) as of_prepare:  # noqa: PT011 - the message is compared below
        read_image(tmp_path / name, Findings())
    with pytest.raises(ValueError, match="but 1 of 2 are not - either correct these") as caught:
        find_images(tmp_path)
    assert found in str(of_prepare.value)
    assert str(of_prepare.value) in str(caught.value)


def test_a_truncated_image_is_found_before_the_model_starts(tmp_path):
    PHOTO.save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"a\.png: expected a complete image, but it is truncated"):
        find_images(tmp_path)


def test_many_bad_images_give_three_examples(tmp_path):
    for number in range(9):
        (tmp_path / f"{number}.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="but 9 of 9 are not") as caught:
        find_images(tmp_path)
    assert str(caught.value).count("of no known format") == 3


def test_files_that_are_left_out_are_reported(tmp_path):
    PHOTO.save(tmp_path / "a.png")
    for name in ("._a.png", "b.heic"):
        (tmp_path / name).touch()
    images = find_images(tmp_path)
    assert [record.file_name for record in images.records] == ["a.png"]
    assert ["1 hidden" in finding.what for finding in images.findings] == [True, False]
    assert "found 1 .heic" in images.findings[1].what


def test_a_folder_with_nothing_to_predict_names_what_is_there(tmp_path):
    (tmp_path / "b.heic").touch()
    with pytest.raises(FileNotFoundError, match=r"found no image; .* found 1 \.heic - check"):
        find_images(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"gone: expected a prepared split or a folder"):
        find_images(tmp_path / "gone")
