"""Pixels of a PNG without row filters, as ids are written: inflating is all that it needs."""

import struct
import zlib

import numpy as np
import numpy.typing as npt
from zlib_ng import zlib_ng

from maskmill.canonical.image_header import CHUNK, CHUNK_FRAME, PNG

IHDR = struct.Struct(">IIBBBBB")  # width, height, depth, colour type, three methods
RGB_OF_8_BITS = (8, 2, 0, 0, 0)  # and no interlacing


def plain_rgb(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8] | None:
    """The colours (H, W, 3) of a PNG file's bytes; None where it takes a decoder of images.

    It needs no such decoder if it is 8-bit RGB, no row has a filter, it has no other chunk that
    may change its meaning, and every checksum and length is right. A third faster than libpng,
    which swaps the colours and looks at each row.

    Args:
        data: the bytes of the file, whose header states no more pixels than memory allows.
    """
    chunks = _intact_chunks(data.data)
    if chunks is None:
        return None
    kinds = [kind for kind, _ in chunks]
    num_parts = len(kinds) - 2
    if num_parts < 1 or kinds != [b"IHDR", *[b"IDAT"] * num_parts, b"IEND"]:
        return None
    header = chunks[0][1]
    if len(header) != IHDR.size:
        return None
    width, height, *form = IHDR.unpack(header)
    if tuple(form) != RGB_OF_8_BITS or not width or not height:
        return None
    rows = _inflate(b"".join([part for _, part in chunks[1:-1]]), height * (1 + 3 * width))
    if rows is None:
        return None
    table = rows.reshape(height, 1 + 3 * width)  # the number of a row's filter, then its colours
    if table[:, 0].any():
        return None
    return table[:, 1:].reshape(height, width, 3)


def _intact_chunks(view: memoryview) -> list[tuple[bytes, memoryview]] | None:
    """Type and content of each chunk; None where the file is not a whole number of right ones."""
    if view[: len(PNG)] != PNG:
        return None
    chunks = []
    position = len(PNG)
    while position < len(view):
        if position + CHUNK_FRAME > len(view):
            return None
        (length,) = CHUNK.unpack_from(view, position)
        end = position + CHUNK_FRAME + length
        if end > len(view):
            return None
        checked = view[position + CHUNK.size : end - CHUNK.size]
        (checksum,) = CHUNK.unpack_from(view, end - CHUNK.size)
        if zlib.crc32(checked) != checksum:
            return None
        chunks.append((bytes(checked[:4]), checked[4:]))
        position = end
    return chunks


def _inflate(compressed: bytes, size: int) -> npt.NDArray[np.uint8] | None:
    """The bytes of a complete zlib stream, if they are `size` many."""
    stream = zlib_ng.decompressobj()  # a sixth of the time that zlib takes for ids
    try:
        inflated = stream.decompress(compressed, size + 1)  # one more reaches the stream's checksum
    # A decoder of images says what is wrong.
    except (zlib_ng.error, MemoryError):  # type: ignore[not-a-type] # its stub says instance
        return None
    if len(inflated) != size or not stream.eof or stream.unused_data:
        return None
    return np.frombuffer(inflated, np.uint8)
