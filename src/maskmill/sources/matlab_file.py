"""Reads a matrix of numbers from a MATLAB file of version 5 to 7.2.

The format is that of MathWorks, "MAT-File Format" (R2021a), chapter 1. scipy reads all of it, but
some damaged files end the process there; a class mask is one matrix of numbers, which needs little.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from maskmill.canonical.limits import require_pixels

HEADER_BYTES = 128
VERSION_5, VERSION_7_3 = 0x0100, 0x0200
MATRIX, COMPRESSED = 14, 15
# Number types of elements (table 1-1); classes of arrays (table 1-3), from 6 on those of numbers.
NUMBER_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"}
NUMBER_TYPES |= {12: "i8", 13: "u8"}
NUMBER_CLASSES = range(6, 16)
OTHER_CLASSES = {1: "a cell array", 2: "a struct", 3: "an object", 4: "text", 5: "a sparse matrix"}
COMPLEX = 0x0800
HEAD_BYTES = 4096  # more than class, shape and name of a matrix take; a name has 63 characters


def read_matrix(path: Path, name: str) -> npt.NDArray[Any]:
    """The matrix with this name, (H, W), with the number type of the values in the file.

    MATLAB saves a matrix of whole numbers in the smallest type that holds them.

    Raises:
        ValueError: the file has another version, is damaged, or has no such matrix of numbers.
    """
    content = path.read_bytes()
    order = _byte_order(path, content)
    names = []
    try:
        for array in _arrays(content, order):
            if array.name == name:
                return _numbers(path, array)
            names.append(array.name)
    except (struct.error, zlib.error, EOFError) as error:
        raise ValueError(
            f"{path}: expected a complete MATLAB file, but it is truncated or damaged "
            f"({error}) - replace the file"
        ) from error
    raise ValueError(
        f"{path}: expected a matrix of integers called {name!r}, but got {names or 'no variable'} "
        "- check conf/source"
    )


@dataclass(frozen=True)
class Element:
    """A data element of a file.

    Args:
        type: of its values.
        values: their bytes.
        end: where the next element begins, in bytes.
    """

    type: int
    values: bytes
    end: int


@dataclass(frozen=True)
class Array:
    """What a file says of an array, and where its values are.

    Args:
        kind: its class in MATLAB.
        is_complex: whether imaginary parts follow.
        shape: rows, columns and so on.
        name: of the variable.
        body: the elements of the array, compressed or not.
        is_compressed: whether `body` is compressed.
        start: of the values in the uncompressed body, in bytes.
        order: "<" or ">", of the bytes of a number.
    """

    kind: int
    is_complex: bool
    shape: tuple[int, ...]
    name: str
    body: bytes
    is_compressed: bool
    start: int
    order: str


def _byte_order(path: Path, content: bytes) -> str:
    """The order of a number's bytes, "<" or ">", in a file of version 5."""
    order = {b"IM": "<", b"MI": ">"}.get(content[HEADER_BYTES - 2 : HEADER_BYTES])
    version = None
    if order is not None:
        (version,) = struct.unpack_from(f"{order}H", content, HEADER_BYTES - 4)
    if version == VERSION_7_3:  # HDF5
        raise ValueError(
            f"{path}: expected a MATLAB file of version 5 to 7.2, but got 7.3 - save it with '-v7'"
        )
    if order is None or version != VERSION_5:
        raise ValueError(
            f"{path}: expected a complete MATLAB file of version 5 to 7.2, but its header is that "
            "of another version or damaged - either save it with '-v7' or replace the file"
        )
    return order


def _arrays(content: bytes, order: str) -> Iterator[Array]:
    """The arrays of a file, in its order; other elements are left out."""
    start = HEADER_BYTES
    while start < len(content):
        element = _element(content, start, order)
        if element.type == MATRIX:
            yield _array(element.values, element.values, order, is_compressed=False)
        if element.type == COMPRESSED:
            head = zlib.decompressobj().decompress(element.values, HEAD_BYTES)
            yield _array(head, element.values, order, is_compressed=True)
        start = element.end


def _element(content: bytes, start: int, order: str) -> Element:
    """The element that begins at `start`."""
    kind, size = struct.unpack_from(f"{order}II", content, start)
    if kind >> 16:  # small: its size and up to four bytes of values are in the tag
        kind, size = kind & 0xFFFF, kind >> 16
        first, end = start + 4, start + 8
    else:
        first = start + 8
        end = first + size
        if kind != COMPRESSED:
            end += -size % 8
    if size > len(content) - first or first + size > end:
        raise EOFError(f"{size:,} bytes are announced, but {max(len(content) - first, 0):,} follow")
    return Element(kind, content[first : first + size], end)


def _array(head: bytes, body: bytes, order: str, *, is_compressed: bool) -> Array:
    start = 8 if is_compressed else 0  # a compressed array has its own tag inside
    flags = _element(head, start, order)
    shape = _element(head, flags.end, order)
    name = _element(head, shape.end, order)
    (word,) = struct.unpack_from(f"{order}I", flags.values)
    return Array(
        kind=word & 0xFF,
        is_complex=bool(word & COMPLEX),
        shape=struct.unpack(f"{order}{len(shape.values) // 4}i", shape.values),
        name=name.values.decode("latin-1"),
        body=body,
        is_compressed=is_compressed,
        start=name.end,
        order=order,
    )


def _numbers(path: Path, array: Array) -> npt.NDArray[Any]:
    """The values of an array, in its shape."""
    if array.kind not in NUMBER_CLASSES or array.is_complex:
        found = OTHER_CLASSES.get(array.kind, "another kind of array")
        raise ValueError(
            f"{path}: expected a matrix of integers called {array.name!r}, but got "
            f"{'complex numbers' if array.is_complex else found} - check conf/source"
        )
    if len(array.shape) != 2:
        raise ValueError(
            f"{path}: expected a matrix of integers called {array.name!r}, but got an array of "
            f"shape {array.shape} - check conf/source"
        )
    require_pixels(*array.shape, str(path))
    count = math.prod(array.shape)
    body = array.body
    if array.is_compressed:
        body = _decompress(body, array.start + 8 + 8 * count + 8)  # tag, values, padding
    values = _element(body, array.start, array.order)
    if values.type not in NUMBER_TYPES:
        raise EOFError(f"the values have the unknown type {values.type}")
    numbers = np.frombuffer(values.values, f"{array.order}{NUMBER_TYPES[values.type]}")
    if len(numbers) != count:
        raise EOFError(f"{count:,} values are announced, but {len(numbers):,} follow")
    return numbers.reshape(array.shape, order="F").astype(NUMBER_TYPES[values.type])


def _decompress(content: bytes, max_bytes: int) -> bytes:
    """At most so many bytes, whose checksum at the end is right."""
    stream = zlib.decompressobj()
    body = stream.decompress(content, max_bytes)
    rest = stream.decompress(stream.unconsumed_tail, 1)  # reads the checksum
    if rest or not stream.eof:
        raise EOFError("the compressed values do not end where they should")
    return body
