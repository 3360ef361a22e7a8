"""PNGs that are read without a decoder of images, and those that are not."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given

from maskmill.canonical.plain_png import plain_rgb
from maskmill.canonical.png import PHOTO, encode_png, ids_to_png, ids_to_rgb
from strategies import id_maps

IDS = np.arange(35, dtype=np.int32).reshape(5, 7) * 1000
PLAIN = ids_to_png(IDS)
START = 33  # of the first IDAT chunk


def chunk(kind, content):
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


def with_rows(rows):
    return PLAIN[:START] + chunk(b"IDAT", zlib.compress(rows)) + PLAIN[-12:]


def with_byte(position, value):
    return PLAIN[:position] + bytes([value]) + PLAIN[position + 1 :]


def read(content):
    return plain_rgb(np.frombuffer(content, np.uint8))


@given(id_maps())
def test_written_ids_are_read_without_a_decoder(ids):
    assert np.array_equal(read(ids_to_png(ids)), ids_to_rgb(ids))


ROWS = b"".join(b"\0" + row.tobytes() for row in ids_to_rgb(IDS))
TRANSPARENT = chunk(b"tRNS", b"\0\0\0\0\0\0")


def test_rows_in_two_chunks_are_read():
    compressed = zlib.compress(ROWS)
    parts = chunk(b"IDAT", compressed[:9]) + chunk(b"IDAT", compressed[9:])
    assert np.array_equal(read(PLAIN[:START] + parts + PLAIN[-12:]), ids_to_rgb(IDS))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a picture",
        PLAIN[:-1],
        PLAIN[:-12],
        PLAIN + b"\0",
        with_byte(START + 12, 77),  # another checksum
        with_byte(START, 0x20),  # a chunk of 512 MB
        with_rows(ROWS[:-1]),
        with_rows(ROWS + b"\0"),
        with_rows(b"\1" + ROWS[1:]),  # a row with a filter
        PLAIN[:START] + chunk(b"IDAT", zlib.compress(ROWS)[:-1]) + PLAIN[-12:],
        PLAIN[:START] + chunk(b"IDAT", zlib.compress(ROWS) + b"\0") + PLAIN[-12:],
        PLAIN[:START] + PLAIN[-12:],
        PLAIN[:START] + TRANSPARENT + PLAIN[START:],
        encode_png(np.zeros((2, 3), np.uint8)),
        encode_png(ids_to_rgb(IDS), [*PHOTO, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB]),
    ],
)
def test_any_other_file_needs_a_decoder(content):
    assert read(content) is None
