"""Image sizes from headers, and images that are too large for memory."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from maskmill.canonical.image_header import header_size
from maskmill.canonical.png import read_gray, read_ids, read_labels, read_rgb
from maskmill.sources.finding import Findings
from maskmill.sources.images import image_size, read_image, read_label_colors, read_label_image

RGB = np.random.default_rng(0).integers(0, 256, (13, 29, 3), np.uint8)


def encoded(kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, kind, **options)
    return buffer.getvalue()


def with_fill_bytes(jpeg):
    return jpeg[:2] + b"\xff\xff" + jpeg[2:]


FILES = {
    "png": encoded("PNG"),
    "jpeg": encoded("JPEG"),
    "progressive": encoded("JPEG", progressive=True, exif=Image.Exif()),
    "fill-bytes": with_fill_bytes(encoded("JPEG")),
    "bmp": encoded("BMP"),
    "tiff": encoded("TIFF"),
    "webp": encoded("WEBP"),
    "ppm": encoded("PPM"),
    "gif": encoded("GIF"),
}


@pytest.mark.parametrize("kind", FILES)
def test_the_size_in_the_header_is_that_of_the_decoded_image(kind):
    data = np.frombuffer(FILES[kind], np.uint8)
    assert header_size(data) == (13, 29)
    assert cv2.imdecode(data, cv2.IMREAD_COLOR).shape == (13, 29, 3)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", FILES)
def test_a_mutated_header_has_a_size_or_is_refused(kind):
    generator = np.random.default_rng(0)
    outcomes = set()
    for number in range(300):
        data = np.frombuffer(FILES[kind], np.uint8).copy()
        data[generator.integers(0, min(data.size, 600), 4)] = generator.integers(0, 256, 4)
        end = data.size if number % 2 else generator.integers(0, data.size)
        try:
            outcomes.add(type(header_size(data[:end])))
        except ValueError as error:
            outcomes.add(str(error))
    assert outcomes == {tuple, "they are of no known format"}


def png_bomb(width, height):
    def chunk(kind, data):
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def jpeg_bomb(width, height):
    data = bytearray(encoded("JPEG"))
    start = data.index(struct.pack(">HH", 13, 29))
    data[start : start + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def bmp_bomb(width, height):
    data = bytearray(encoded("BMP"))
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


def read_any(path):
    return read_image(path, Findings())


READERS = [read_rgb, read_gray, read_labels, read_ids, read_any, image_size, read_label_image]
READERS += [read_label_colors]


@pytest.mark.parametrize("make", [png_bomb, jpeg_bomb, bmp_bomb])
@pytest.mark.parametrize("read", READERS)
def test_a_bomb_is_refused_by_its_header_and_the_limit_can_be_raised(
    tmp_path, monkeypatch, read, make
):
    path = tmp_path / "a.png"
    path.write_bytes(make(30_000, 30_001))
    message = (
        r"a\.png: expected at most 80,000,000 pixels, but got 30000 x 30001 \(width x height\) - "
        r"either cut the image into tiles or set the environment variable MASKMILL_MAX_PIXELS"
    )
    with pytest.raises(ValueError, match=message):
        read(path)
    path.write_bytes(FILES["png"])
    monkeypatch.setenv("MASKMILL_MAX_PIXELS", str(13 * 29 - 1))
    with pytest.raises(ValueError, match="at most 376 pixels, but got 29 x 13"):
        read(path)


def test_an_image_at_the_limit_is_read(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(FILES["png"])
    monkeypatch.setenv("MASKMILL_MAX_PIXELS", str(13 * 29))
    assert np.array_equal(read_rgb(tmp_path / "a.png"), RGB)


def test_an_image_without_pixels_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(png_bomb(0, 5))
    with pytest.raises(ValueError, match=r"a\.png: expected an image with pixels, but got 0 x 5"):
        read_rgb(tmp_path / "a.png")
