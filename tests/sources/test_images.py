"""Image files of every kind that data sets contain."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from maskmill.sources.finding import Findings
from maskmill.sources.images import (
    image_size,
    read_image,
    read_label_colors,
    read_label_image,
)

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
GRAY = RGB[..., 0]


def save(path, image, **options):
    Image.fromarray(image).save(path, **options)
    return path


def png_of_16_bit_rgb():
    """Pillow cannot write one: the header of an 8 bit PNG of twice the width, changed."""
    import zlib

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = b"".join(b"\0" + bytes(2 * 3 * 2) for _ in range(2))
    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("ending", [".png", ".jpg"])
def test_an_rgb_file_keeps_its_bytes(tmp_path, ending):
    path = save(tmp_path / f"a{ending}", RGB)
    image = read_image(path, Findings())
    assert (image.data, image.ending) == (path.read_bytes(), ending)


def test_the_ending_follows_the_content_and_not_the_name(tmp_path):
    path = save(tmp_path / "a.jpg", RGB, format="PNG")
    assert read_image(path, Findings()).ending == ".png"


def test_alpha_is_dropped_and_not_blended(tmp_path):
    alpha = np.arange(54, dtype=np.uint8).reshape(6, 9, 1)
    image = read_image(save(tmp_path / "a.png", np.concatenate([RGB, alpha], axis=2)), Findings())
    assert np.array_equal(image.rgb, RGB)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(image.data))), RGB)


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif"])
def test_gray_becomes_rgb(tmp_path, ending):
    image = read_image(save(tmp_path / f"a{ending}", GRAY), Findings())
    assert image.ending == ".png"
    assert np.array_equal(image.rgb, np.repeat(GRAY[..., None], 3, axis=2))


def test_a_palette_becomes_rgb(tmp_path):
    Image.fromarray(RGB).quantize(8).save(tmp_path / "a.png")
    assert np.array_equal(
        read_image(tmp_path / "a.png", Findings()).rgb,
        np.asarray(Image.open(tmp_path / "a.png").convert("RGB")),
    )


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [(3, RGB[::-1, ::-1]), (6, RGB.transpose(1, 0, 2)[:, ::-1]), (8, RGB.transpose(1, 0, 2)[::-1])],
)
def test_a_rotated_photograph_becomes_upright(tmp_path, orientation, upright):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = read_image(save(tmp_path / "a.png", RGB, exif=exif), Findings())
    assert np.array_equal(image.rgb, upright)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(image.data))), upright)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif"])
def test_a_truncated_file_is_refused(tmp_path, ending):
    path = save(
        tmp_path / f"a{ending}",
        np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8),
    )
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(
        ValueError, match=r"a\.\w+: expected (a complete image, but it is truncated|an image, but)"
    ):
        read_image(path, Findings())


def test_a_file_that_is_not_an_image_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"GIF87 no")
    with pytest.raises(
        ValueError,
        match=r"a\.png: expected an image, but its 8 bytes are of no known format - replace",
    ):
        read_image(tmp_path / "a.png", Findings())


def test_16_bit_gray_is_refused(tmp_path):
    path = save(tmp_path / "a.png", GRAY.astype(np.uint16) * 257)
    with pytest.raises(
        ValueError, match=r"expected 8 bits per channel, but got more \(I;16\) - scale the image"
    ):
        read_image(path, Findings())


def test_16_bit_rgb_is_refused_and_not_reduced_to_8_bits(tmp_path):
    (tmp_path / "a.png").write_bytes(png_of_16_bit_rgb())
    with pytest.raises(ValueError, match="expected 8 bits per channel, but got more"):
        read_image(tmp_path / "a.png", Findings())


def test_cmyk_is_refused(tmp_path):
    Image.fromarray(RGB).convert("CMYK").save(tmp_path / "a.jpg")
    with pytest.raises(
        ValueError,
        match="expected RGB or gray, but got CMYK - convert the image to RGB with its colour",
    ):
        read_image(tmp_path / "a.jpg", Findings())


def test_too_many_pixels_are_refused_before_decoding(tmp_path):
    path = save(tmp_path / "a.png", RGB)
    with pytest.raises(ValueError, match="expected at most 53 pixels, but got 9 x 6"):
        read_image(path, Findings(), max_pixels=53)
    assert read_image(path, Findings(), max_pixels=54).rgb.shape == (6, 9, 3)


def test_a_decompression_bomb_is_refused(tmp_path):
    data = bytearray(save(tmp_path / "a.png", RGB).read_bytes())
    data[16:24] = struct.pack(">II", 100_000, 100_000)
    import zlib

    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    (tmp_path / "a.png").write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"a\.png: expected at most 80,000,000 pixels, but"):
        read_image(tmp_path / "a.png", Findings())


def test_an_animation_is_refused(tmp_path):
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match="expected one picture, but the file contains 2"):
        read_image(tmp_path / "a.gif", Findings())


def test_labels_are_the_indices_of_a_palette_and_not_its_colours(tmp_path):
    labels = GRAY % 5
    image = Image.fromarray(labels)
    image.putpalette([value for color in range(256) for value in (color, 255 - color, 7)])
    image.save(tmp_path / "a.png")
    assert np.array_equal(read_label_image(tmp_path / "a.png"), labels)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.uint16])
def test_gray_labels_keep_their_values(tmp_path, dtype):
    labels = (GRAY.astype(dtype)) if dtype is not np.uint16 else GRAY.astype(np.uint16) * 200
    assert np.array_equal(read_label_image(save(tmp_path / "a.png", labels)), labels)


def test_colours_are_not_class_ids(tmp_path):
    with pytest.raises(
        ValueError,
        match="expected one channel of labels, but got RGB - save class ids as a gray",
    ):
        read_label_image(save(tmp_path / "a.png", RGB))


def test_gray_levels_are_not_panoptic_ids(tmp_path):
    with pytest.raises(
        ValueError,
        match="expected labels as colours in 8 bit RGB, but got L - save them as an RGB PNG",
    ):
        read_label_colors(save(tmp_path / "a.png", GRAY))


def broken_exif():
    exif = Image.Exif()
    exif[0x0112] = 77
    return exif


def test_an_orientation_that_does_not_exist_is_upright(tmp_path):
    image = read_image(save(tmp_path / "a.png", RGB, exif=broken_exif()), Findings())
    assert np.array_equal(image.rgb, RGB)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif", ".webp", ".gif", ".bmp"])
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_a_mutated_image_is_read_or_refused_by_its_name(tmp_path, ending):
    path = save(tmp_path / f"a{ending}", RGB)
    original = path.read_bytes()
    generator = np.random.default_rng(0)
    messages = []
    for _ in range(150):
        data = np.frombuffer(original, np.uint8).copy()
        positions = generator.integers(0, data.size, 3)
        data[positions] = generator.integers(0, 256, 3)
        path.write_bytes(data.tobytes())
        try:
            image = read_image(path, Findings())
        except ValueError as error:
            messages.append(str(error))
        else:
            assert image.rgb.shape[:2] == image_size(path)
    assert len(messages) > 10
    assert [text for text in messages if not text.startswith(f"{path}: expected ")] == []


def test_only_formats_of_data_sets_are_opened(tmp_path):
    """Pillow would open EPS, by a program that runs PostScript."""
    Image.fromarray(RGB).save(tmp_path / "a.png", format="EPS")
    with pytest.raises(ValueError, match=r"a\.png: expected an image, but its .* no known format"):
        read_image(tmp_path / "a.png", Findings())
