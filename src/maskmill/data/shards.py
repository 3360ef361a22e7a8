"""Sharded splits: many samples in a few tar files, named as in WebDataset, and an index.

A sample `00000012` has three consecutive members: `.json` (COCO's image row and `segments_info`),
the image with its own extension, and `.panoptic.png`; or, decoded, `.image.npy` and
`.panoptic.npy`. The index (`shards.json`) says at which byte of which tar file each sample starts,
so that one read gets one sample, in any order. WebDataset and `tar` can read the same files in
sequence.
"""

import io
import math
import tokenize
from enum import IntEnum
from typing import Annotated, Any, TypeVar

import numpy as np
import numpy.typing as npt
import pydantic
from pydantic import Field, with_config
from typing_extensions import TypedDict  # pydantic cannot read that of typing before Python 3.12

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import decode_text, parse_json
from maskmill.canonical.png import RGB, decode_ids, decode_rgb
from maskmill.canonical.schema import STRICT, ImageRow, SegmentRow, Text, require_schema
from maskmill.data.stores import Store, load_json

INDEX = "shards.json"
BLOCK = 512  # tar: a header is one block, and the contents are padded to whole blocks
MAX_BYTES = 2**50  # of one shard; sums of a few sizes fit into 64 bits
NUMPY = b"\x93NUMPY"

NumBytes = Annotated[int, Field(ge=0, le=MAX_BYTES)]


@with_config(STRICT)
class ShardRow(TypedDict):
    """A tar file; its samples have the last four fields of `Column`."""

    file: Text
    bytes: NumBytes
    samples: list[Annotated[list[NumBytes], Field(min_length=4, max_length=4)]]


@with_config(STRICT)
class ShardIndex(TypedDict):
    """The content of shards.json."""

    categories: list[dict[str, Any]]
    shards: list[ShardRow]


@with_config(STRICT)
class SampleRow(ImageRow):
    """COCO's image row with the segments of the image."""

    segments_info: list[SegmentRow]


SHARD_INDEX = pydantic.TypeAdapter(ShardIndex)
SAMPLE_ROW = pydantic.TypeAdapter(SampleRow)


class Column(IntEnum):
    """Columns of the table of samples; the last four are the fields of a sample in the index."""

    SHARD = 0
    START = 1  # of the row's contents, in bytes from the start of the tar file
    ROW_SIZE = 2
    IMAGE_SIZE = 3
    LABELS_SIZE = 4


Size = TypeVar("Size", int, npt.NDArray[np.int64])


def padded(size: Size) -> Size:
    """The number of bytes that contents of `size` bytes occupy in a tar file."""
    return -(-size // BLOCK) * BLOCK


class ShardReader:
    """The samples of one sharded split, by index.

    Args:
        store: where the data set is stored.
        split: the folder of the split in the store.

    Raises:
        FileNotFoundError: the index or a shard is missing.
        ValueError: the index is invalid, or the size of a shard differs from the index.
    """

    def __init__(self, store: Store, split: str) -> None:
        self._store = store
        self._split = split
        self.where = store.where(f"{split}/{INDEX}")
        index = self._read_index()
        self.categories = Categories.from_list(index["categories"], self.where)
        self._files = [f"{split}/{shard['file']}" for shard in index["shards"]]
        self._check_files(index["shards"])
        self._table = _table(index["shards"])
        self._check_positions(index["shards"])

    def __len__(self) -> int:
        return len(self._table)

    def read(self, index: int) -> tuple[dict[str, Any], RGB, npt.NDArray[np.int32]]:
        """Read and decode one sample.

        Returns:
            COCO's image row with its `segments_info`, the image (H, W, 3) uint8 RGB, and its
            segment ids (H, W) int32.

        Raises:
            ValueError: the sample is incomplete, cannot be decoded, or has another form.
        """
        row, image, labels = self.members(index)
        where = self._where(index)
        return _row(row, where), _image(image, where), _ids(labels, where)

    def row(self, index: int) -> dict[str, Any]:
        """COCO's image row with its `segments_info`, without reading image and labels.

        Raises:
            ValueError: the row cannot be decoded, or has another form.
        """
        sample = self._table[index].tolist()
        file = self._files[sample[Column.SHARD]]
        data = self._store.read(file, sample[Column.START], sample[Column.ROW_SIZE])
        return _row(data, self._where(index))

    def members(self, index: int) -> tuple[bytes, npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """The contents of the three files of a sample, from one read.

        Raises:
            ValueError: the sample is incomplete.
        """
        sample = self._table[index].tolist()
        start = sample[Column.START]
        image_start = padded(sample[Column.ROW_SIZE]) + BLOCK
        labels_start = image_start + padded(sample[Column.IMAGE_SIZE]) + BLOCK
        size = labels_start + sample[Column.LABELS_SIZE]
        file = self._files[sample[Column.SHARD]]
        data = self._store.read(file, start, size)
        if len(data) != size:
            raise ValueError(
                f"{self._store.where(file)}: expected {size} bytes from position {start}, "
                f"but got {len(data)} - copy the shards again"
            )
        row = data[: sample[Column.ROW_SIZE]]
        image = np.frombuffer(data, np.uint8, sample[Column.IMAGE_SIZE], image_start)
        labels = np.frombuffer(data, np.uint8, sample[Column.LABELS_SIZE], labels_start)
        return row, image, labels

    def _where(self, index: int) -> str:
        return f"sample {index} of {self.where}"

    def _read_index(self) -> dict[str, Any]:
        try:
            index = load_json(self._store, f"{self._split}/{INDEX}")
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{self.where}: expected the index of a sharded split, but there is none ({error}) "
                "- write it with `maskmill shard`"
            ) from error
        require_schema(SHARD_INDEX, index, self.where)
        return dict(index)

    def _check_files(self, shards: list[dict[str, Any]]) -> None:
        """Find a missing or incomplete shard before training starts."""
        folder = self._store.where(self._split)
        try:
            sizes = self._store.sizes(self._files)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{folder}: expected every shard of the index, but one is missing ({error}) - "
                "copy the shards again"
            ) from error
        for shard, size in zip(shards, sizes, strict=True):
            if size != shard["bytes"]:
                raise ValueError(
                    f"{folder}: expected {shard['file']} of {shard['bytes']} bytes, "
                    f"but it has {size} - copy the shards again"
                )

    def _check_positions(self, shards: list[dict[str, Any]]) -> None:
        """Find samples that end after their shard, before memory is allocated for them."""
        sizes = np.array([shard["bytes"] for shard in shards], dtype=np.int64)
        start = self._table[:, Column.START]
        row = padded(self._table[:, Column.ROW_SIZE]) + BLOCK
        image = padded(self._table[:, Column.IMAGE_SIZE]) + BLOCK
        end = start + row + image + self._table[:, Column.LABELS_SIZE]
        available = sizes[self._table[:, Column.SHARD]]
        too_long = (end > available).nonzero()[0]
        if len(too_long):
            first = int(too_long[0])
            raise ValueError(
                f"{self.where}: expected samples within their shards, but sample {first} ends at "
                f"byte {end[first]} of a shard of {available[first]} bytes - write the shards again"
            )


def _table(shards: list[dict[str, Any]]) -> npt.NDArray[np.int64]:
    """The samples of all shards: (N, 5) int64 with the columns of `Column`."""
    rows: list[list[int]] = []
    for number, shard in enumerate(shards):
        rows += [[number, *sample] for sample in shard["samples"]]
    return np.array(rows, dtype=np.int64).reshape(-1, len(Column))


def _row(data: bytes, where: str) -> dict[str, Any]:
    values = parse_json(decode_text(data, where), where)
    require_schema(SAMPLE_ROW, values, where)
    return dict(values)


def _image(data: npt.NDArray[np.uint8], where: str) -> RGB:
    if not _is_array(data):
        return decode_rgb(data, where)
    image = _array(data, where)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f"{where}: expected an image (H, W, 3) uint8, but got {image.shape} {image.dtype} - "
            "write the shards again"
        )
    return image


def _ids(data: npt.NDArray[np.uint8], where: str) -> npt.NDArray[np.int32]:
    if not _is_array(data):
        return decode_ids(data, where)
    ids = _array(data, where)
    if ids.dtype.kind not in "iu" or ids.ndim != 2:
        raise ValueError(
            f"{where}: expected segment ids (H, W) of an integer type, but got {ids.shape} "
            f"{ids.dtype} - write the shards again"
        )
    return ids.astype(np.int32)


def _is_array(data: npt.NDArray[np.uint8]) -> bool:
    return data[: len(NUMPY)].tobytes() == NUMPY


def _array(data: npt.NDArray[np.uint8], where: str) -> npt.NDArray[Any]:
    """The array of a .npy file, copied because augmentations may write into it.

    Pickled objects are refused. The header decides how much memory is allocated, so it must fit the
    size of the file.
    """
    file = io.BytesIO(data.data)
    try:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)  # the version of our arrays
        if dtype.hasobject:
            raise ValueError("Python objects")
        num_bytes = math.prod(shape) * dtype.itemsize
        if num_bytes != len(data) - file.tell():
            raise ValueError(f"{len(data) - file.tell()} bytes for an array {shape} {dtype}")
        file.seek(0)
        return np.asarray(np.load(file, allow_pickle=False))
    except (ValueError, SyntaxError, TypeError, tokenize.TokenError) as error:
        raise ValueError(
            f"{where}: expected a NumPy array, but found {error} - write the shards again"
        ) from error
