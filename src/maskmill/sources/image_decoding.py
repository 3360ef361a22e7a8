"""Image files, opened and decoded by Pillow with every fault explained.

An image that Pillow cannot decode completely, or that is not exactly representable as 8 bit RGB, is
refused.
"""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, UnidentifiedImageError

from maskmill.canonical.image_header import FORMATS, PNG
from maskmill.canonical.limits import require_pixels

Image.MAX_IMAGE_PIXELS = None  # `require_pixels` checks the size of each image instead
ORIENTATION = 0x0112  # EXIF tag
TEXT_CHUNKS = {b"eXIf", b"tEXt", b"zTXt", b"iTXt"}  # of a PNG, which may contain EXIF data
BITS_PER_SAMPLE = 258  # TIFF tag
BIT_DEPTH_BYTE = 24  # of a PNG, after the width and height in IHDR
# Modes whose conversion to RGB loses nothing but alpha.
RGB_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "YCbCr"}


def require_file(path: Path) -> None:
    """Raise a FileNotFoundError if there is no such file."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected an image, but there is no such file - "
            "either add it or remove it from the list"
        )


def load_image(data: bytes, path: Path, max_pixels: int | None = None) -> Image.Image:
    """The decoded image of a file's bytes; errors are those of `images.read_image`."""
    image = open_image(io.BytesIO(data), path)
    width, height = image.size
    if max_pixels is not None and width * height > max_pixels:
        raise ValueError(
            f"{path}: expected at most {max_pixels:,} pixels, but got {width} x {height} (width x "
            "height) - either cut the image into tiles or raise prepare.max_pixels"
        )
    require_one_picture(image, path)
    with _damage_explained(path):
        image.load()
    return image


def require_one_picture(image: Image.Image, path: Path) -> None:
    """Refuse a file of several pages or frames."""
    with _damage_explained(path):
        num_frames = getattr(image, "n_frames", 1)
    if num_frames > 1 and image.format != "MPO":  # MPO: a JPEG with previews
        raise ValueError(
            f"{path}: expected one picture, but the file contains {num_frames} - "
            "save one picture per file"
        )


def open_image(file: BinaryIO, path: Path) -> Image.Image:
    """An image of which only the header is decoded, and whose size is checked."""
    try:
        with _damage_explained(path):
            image = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError as error:
        raise ValueError(
            f"{path}: expected an image, but its {_num_bytes(file)} bytes are of no known "
            "format - replace the file"
        ) from error
    width, height = image.size
    require_pixels(height, width, str(path))
    return image


def require_rgb(file: BinaryIO, image: Image.Image, path: Path) -> None:
    """Refuse an image that 8 bit RGB cannot represent."""
    if num_bits(file, image, path) > 8 or image.mode.startswith(("I", "F")):
        raise ValueError(
            f"{path}: expected 8 bits per channel, but got more ({image.mode}) - "
            "scale the image to 8 bits first"
        )
    if image.mode not in RGB_MODES:
        raise ValueError(
            f"{path}: expected RGB or gray, but got {image.mode} - "
            "convert the image to RGB with its colour profile"
        )


def num_bits(file: BinaryIO, image: Image.Image, path: Path) -> int:
    """Bits per channel in the file, which Pillow's mode does not show for 16 bit RGB."""
    if image.format == "PNG":
        position = file.tell()
        file.seek(BIT_DEPTH_BYTE)
        (bits,) = file.read(1)
        file.seek(position)
        return bits
    if image.format == "TIFF":
        tags = getattr(image, "tag_v2", {})
        with _damage_explained(path):
            return int(max(tags.get(BITS_PER_SAMPLE, (8,))))
    return 8


def header_orientation(file: BinaryIO, image: Image.Image, path: Path) -> int:
    """The orientation, without decoding the pixels."""
    if image.format != "PNG" or _has_text_behind_pixels(file):
        return orientation_of(image, path)
    return orientation_of(image, path, Image.Image.getexif)  # that of PNG decodes the pixels


def orientation_of(
    image: Image.Image, path: Path, read: Callable[[Any], Image.Exif] | None = None
) -> int:
    """The orientation in the EXIF data: 1 is upright, 2 to 8 are rotated or mirrored."""
    with _damage_explained(path):
        exif = read(image) if read else image.getexif()
        orientation = exif.get(ORIENTATION, 1)
    return orientation if orientation in range(1, 9) else 1


def _has_text_behind_pixels(file: BinaryIO) -> bool:
    """Whether a PNG has chunks behind its pixels that may contain EXIF data."""
    position = file.tell()
    file.seek(len(PNG))
    kinds = []
    while len(start := file.read(8)) == 8:
        kinds.append(start[4:])
        file.seek(int.from_bytes(start[:4]) + 4, os.SEEK_CUR)  # the chunk and its checksum
    file.seek(position)
    behind = kinds[kinds.index(b"IDAT") :] if b"IDAT" in kinds else []
    return not TEXT_CHUNKS.isdisjoint(behind)


def _num_bytes(file: BinaryIO) -> int:
    return file.seek(0, os.SEEK_END)


@contextmanager
def _damage_explained(path: Path) -> Iterator[None]:
    """Pillow raises any exception that a damaged field causes."""
    try:
        yield
    except (UnidentifiedImageError, MemoryError):
        raise
    except Exception as error:
        raise ValueError(
            f"{path}: expected a complete image, but it is truncated or damaged ({error}) - "
            "replace the file"
        ) from error
