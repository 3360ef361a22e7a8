"""The size that an image file states in its header, read before its pixels take any memory."""

import io
import struct

import numpy as np
import numpy.typing as npt

PNG = b"\x89PNG\r\n\x1a\n"
CHUNK = struct.Struct(">I")  # the length that a chunk begins with
CHUNK_FRAME = 12  # bytes of a chunk besides its content: length, type, checksum
JPEG = b"\xff\xd8"
# Markers of JPEG frames, whose segments start with precision, height and width. The four others
# of this range are tables.
JPEG_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# What Pillow may open. Others of its formats run programs (EPS), or are no images of data sets.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "PPM", "WEBP", "JPEG2000")


def header_size(data: npt.NDArray[np.uint8]) -> tuple[int, int]:
    """Height and width of an image file's bytes; those of PNG and JPEG in 10 microseconds.

    Raises:
        ValueError: the bytes are not the start of an image.
    """
    view = data.data
    if len(view) >= 24 and view[:8] == PNG:
        width, height = struct.unpack(">II", view[16:24])
        return height, width
    if view[:2] == JPEG:
        size = _jpeg_size(view)
        if size is not None:
            return size
    return _any_size(view)


def claims_too_much(data: npt.NDArray[np.uint8]) -> bool:
    """Does a chunk of a PNG say that it is longer than the whole file?

    OpenCV allocates the length that a chunk begins with before it reads the chunk.
    """
    view = data.data
    if view[: len(PNG)] != PNG:
        return False
    position = len(PNG)
    while position + CHUNK.size <= len(view):
        (length,) = CHUNK.unpack_from(view, position)
        if length > len(view):
            return True
        position += length + CHUNK_FRAME
    return False


def _jpeg_size(data: memoryview) -> tuple[int, int] | None:
    """The size in the first frame header, or None if the segments before it are irregular."""
    position = len(JPEG)
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker in JPEG_FRAMES:
            height, width = struct.unpack(">HH", data[position + 5 : position + 9])
            return height, width
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        (length,) = struct.unpack(">H", data[position + 2 : position + 4])
        position += 2 + length
    return None


def _any_size(data: memoryview) -> tuple[int, int]:
    from PIL import Image  # served models decode no files and do without Pillow

    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
    except Exception as error:  # Pillow raises any exception that a damaged field causes
        raise ValueError("they are of no known format") from error
    return height, width
