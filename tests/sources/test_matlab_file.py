"""MATLAB files against scipy's reader, which wrote or reads the same bytes."""

import struct
import zlib

import numpy as np
import pytest
from scipy import io

from maskmill.sources.matlab_file import read_matrix

NUMBERS = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]
CLASSES = np.arange(12, dtype=np.uint8).reshape(3, 4)


def save(path, *, compressed=True, **variables):
    io.savemat(path, variables, do_compression=compressed)
    return path


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("number", NUMBERS)
def test_a_matrix_is_that_of_scipy(tmp_path, number, compressed):
    limits = np.finfo(number) if number.startswith("f") else np.iinfo(number)
    matrix = np.array([[limits.min, 0, 1], [2, 3, limits.max]], number)
    path = save(tmp_path / "a.mat", compressed=compressed, first=np.eye(40), map=matrix)
    read = read_matrix(path, "map")
    assert read.dtype == matrix.dtype
    assert np.array_equal(read, matrix)


def element(kind, values):
    return struct.pack(">II", kind, len(values)) + values + bytes(-len(values) % 8)


def test_a_big_endian_file_with_values_in_a_smaller_type(tmp_path):
    """MATLAB saves a matrix of doubles that are small whole numbers as bytes."""
    shape = element(5, struct.pack(">ii", 3, 4))
    name = struct.pack(">HH", 3, 1) + b"map\0"
    values = element(2, CLASSES.tobytes(order="F"))
    body = element(6, struct.pack(">II", 6, 0)) + shape + name + values
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(">H", 0x0100) + b"MI"
    (tmp_path / "a.mat").write_bytes(header + element(14, body))
    read = read_matrix(tmp_path / "a.mat", "map")
    assert read.dtype == np.uint8
    assert np.array_equal(read, CLASSES)
    assert np.array_equal(read, io.loadmat(tmp_path / "a.mat")["map"])


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("text", "text"),
        (np.array([1, "a"], object), "a cell array"),
        ({"a": 1}, "a struct"),
        (np.array([[1j]]), "complex numbers"),
        (np.zeros((2, 2, 2), np.uint8), r"an array of shape \(2, 2, 2\)"),
        (np.zeros((0, 2), np.uint8), "expected an image with pixels, but got 2 x 0"),
    ],
)
def test_what_is_no_matrix_is_named(tmp_path, value, found):
    path = save(tmp_path / "a.mat", map=value)
    with pytest.raises(ValueError, match=f"a.mat: .*{found}"):
        read_matrix(path, "map")


@pytest.mark.parametrize("compressed", [True, False])
def test_every_truncated_file_is_refused(tmp_path, compressed):
    path = save(tmp_path / "a.mat", compressed=compressed, map=CLASSES)
    content = path.read_bytes()
    messages = r"truncated or damaged|header is that|got no variable"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=rf"a.mat: expected .*({messages})"):
            read_matrix(path, "map")


# Offset in an uncompressed file -> the word that replaces four of its bytes; scipy's reader ends
# the process at the first.
DAMAGED = {
    "array flags of another size": (140, 60, "bytes are announced"),
    "more rows than values": (160, 5, "20 values are announced, but 12 follow"),
    "negative sides": (160, 2**32 - 3, "expected an image with pixels"),
    "too many pixels": (160, 10**8, "expected at most 80,000,000 pixels"),
    "an unknown type of values": (176, 8, "unknown type 8"),
    "more values than bytes": (180, 2**31, "2,147,483,648 bytes are announced, but"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damage_is_refused(tmp_path, damage):
    offset, word, message = DAMAGED[damage]
    path = save(tmp_path / "a.mat", compressed=False, map=CLASSES)
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, offset, word)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"a.mat: .*{message}"):
        read_matrix(path, "map")


@pytest.mark.slow
@pytest.mark.parametrize(
    "change", [("end", b""), ("checksum", b"\0\0\0\0"), ("zeros", bytes(2**27))]
)
def test_a_compressed_matrix_with_another_end_is_refused(tmp_path, change):
    kind, added = change
    path = save(tmp_path / "a.mat", map=CLASSES)
    content = path.read_bytes()
    header, stream = content[:128], content[136:]
    body = zlib.decompress(stream)
    if kind == "zeros":
        stream = zlib.compress(body + added)
    else:
        stream = zlib.compress(body)[:-4] + added
    path.write_bytes(header + struct.pack("<II", 15, len(stream)) + stream)
    with pytest.raises(ValueError, match=r"a.mat: .*(do not end where|incorrect data check)"):
        read_matrix(path, "map")
