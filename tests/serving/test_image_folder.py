"""Folders of images to predict: read as `prepare` reads them, or refused with the same words."""

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from maskmill.canonical.png import decode_rgb
from maskmill.serving.image_folder import find_images
from maskmill.sources.finding import Findings
from maskmill.sources.images import decode_photo, read_image

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
    rgb, digest = images.read(0, Findings())
    canonical = read_image(tmp_path / name, Findings()).data
    assert np.array_equal(rgb, decode_rgb(np.frombuffer(canonical, np.uint8), name))
    record = images.records[0]
    assert (record.file_name, record.height, record.width) == (name, *rgb.shape[:2])
    assert digest == images.digest(0) == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_both_decoders_give_the_same_pixels_of_a_jpeg(subsampling, progressive):
    for size in ((1, 1), (8, 1), (17, 23), (32, 24)):
        file = io.BytesIO()
        PHOTO.crop((0, 0, *size)).save(
            file, "JPEG", quality=60, subsampling=subsampling, progressive=progressive
        )
        data = file.getvalue()
        rgb = decode_photo(data, "a.jpg", Findings())
        assert np.array_equal(rgb, decode_rgb(np.frombuffer(data, np.uint8), "a.jpg"))


def test_transparent_and_rotated_images_are_reported(tmp_path):
    for name in ("g.png", "h.jpg"):
        image, options = READABLE[name]
        image.save(tmp_path / name, **options)
    images = find_images(tmp_path)
    findings = Findings()
    for index in range(2):
        images.read(index, findings)
    assert ["transparent" in finding.what for finding in findings] == [True, False]
    assert ["EXIF tag rotates" in finding.what for finding in findings] == [False, True]


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
    images = find_images(tmp_path, on_problem="exclude")
    assert [record.file_name for record in images.records] == ["z.png"]
    assert [str(finding) for finding in images.findings] == [str(of_prepare.value)]


def test_only_headers_are_read_to_find_images(tmp_path):
    for name in ("a.png", "b.jpg"):
        PHOTO.save(tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[:-40])
    images = find_images(tmp_path)
    assert [(record.height, record.width) for record in images.records] == [(24, 32)] * 2
    with pytest.raises(ValueError, match=r"a\.png: expected a complete image, but it is truncated"):
        images.read(0, Findings())


def test_exif_data_behind_the_pixels_of_a_png_are_found(tmp_path):
    PHOTO.save(tmp_path / "a.png", exif=ROTATED)
    data = (tmp_path / "a.png").read_bytes()
    start = data.index(b"eXIf") - 4
    stop = start + 12 + int.from_bytes(data[start : start + 4])
    end = data.index(b"IEND") - 4
    moved = data[:start] + data[stop:end] + data[start:stop] + data[end:]
    (tmp_path / "a.png").write_bytes(moved)
    record = find_images(tmp_path).records[0]
    assert (record.height, record.width) == (32, 24)  # upright


def test_many_bad_images_give_three_examples(tmp_path):
    for number in range(9):
        (tmp_path / f"{number}.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="but 9 of 9 are not") as caught:
        find_images(tmp_path)
    assert str(caught.value).count("of no known format") == 3
    with pytest.raises(ValueError, match="but 9 of 9 are not"):
        find_images(tmp_path, on_problem="exclude")


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
    with pytest.raises(FileNotFoundError, match=r"gone: expected a prepared split, a folder of"):
        find_images(tmp_path / "gone")


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """day/a.png, day/b.jpg, night/c.png and a text, below the current directory."""
    for name in ("day/a.png", "day/b.jpg", "night/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        PHOTO.save(tmp_path / name)
    (tmp_path / "day/notes.txt").write_text("no image")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("images", "names"),
    [
        ("day", ["a.png", "b.jpg"]),
        ("day/a.png", ["a.png"]),
        ("*/*.png", ["day/a.png", "night/c.png"]),
        ("**/*", ["day/a.png", "day/b.jpg", "night/c.png"]),
        ("day/*.png", ["a.png"]),
        ("list.txt", ["night/c.png", "day/a.png"]),
        ("-", ["night/c.png", "day/a.png"]),
    ],
)
def test_images_are_named_by_folder_pattern_file_and_list(photos, monkeypatch, images, names):
    lines = f"night/c.png\n\n{photos}/day/a.png\r\n./night/c.png\n"
    (photos / "list.txt").write_text(lines)
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    found = find_images(images)
    assert [record.file_name for record in found.records] == names
    assert [record.id for record in found.records] == list(range(1, len(names) + 1))
    left_out = {"**/*": "2 other files", "list.txt": "1 lines that repeat", "-": "1 lines that"}
    assert [left_out[images] in finding.what for finding in found.findings] == [True] * (
        images in left_out
    )


def test_a_listed_file_that_does_not_exist_is_a_problem(photos):
    (photos / "list.txt").write_text("day/a.png\nday/gone.png\n")
    with pytest.raises(ValueError, match=r"day/gone\.png: expected an image, but there is no such"):
        find_images("list.txt")
    assert len(find_images("list.txt", on_problem="exclude").records) == 1


def test_two_images_of_one_name_are_refused(photos):
    PHOTO.save(photos / "day/a.jpg")
    with pytest.raises(ValueError, match=r"got a\.jpg and a\.png, whose labels"):
        find_images("day")
