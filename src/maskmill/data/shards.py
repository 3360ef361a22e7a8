"""Sharded splits: the files of many samples in few tar files, in WebDataset's naming, and an index that makes them readable in any order.

A sample `00000012` is three members that follow each other: `.json` (COCO's image and `segments_info`), the image under its own ending,
and `.panoptic.png`; or, decoded, `.image.npy` and `.panoptic.npy`. The index (`shards.json`) says where in which tar file each begins, so
that one read gets a sample, as training in an order of its own needs. Read in sequence, the tar files serve WebDataset and `tar` as well.
"""

import io
import json
from typing import Any

import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import Categories
from maskmill.canonical.png import RGB, decode_ids, decode_rgb
from maskmill.data.stores import Store, load_json

INDEX = "shards.json"
BLOCK = 512  # tar: a header is one block, and contents are filled up to whole ones
NUMPY = b"\x93NUMPY"


def padded(size: int) -> int:
    """The bytes a tar member's contents take."""
    return -(-size // BLOCK) * BLOCK


class ShardReader:
    """Samples of one sharded split, by their place.

    Args:
        store: where the data set lies.
        split: its folder there.

    Raises:
        FileNotFoundError: the index or a shard is not there.
        ValueError: the index is broken, or a shard is not as long as the index says.
    """

    def __init__(self, store: Store, split: str) -> None:
        self._store, self._split = store, split
        self.where = store.where(f"{split}/{INDEX}")
        index = self._read_index()
        self.categories = Categories.from_list(index["categories"])
        self._files = [f"{split}/{shard['file']}" for shard in index["shards"]]
        self._check_files(index["shards"])
        rows = [
            (number, *sample)
            for number, shard in enumerate(index["shards"])
            for sample in shard["samples"]
        ]
        self._places = np.array(rows, dtype=np.int64).reshape(
            -1, 5
        )  # shard, start, bytes of row, image and labels

    def __len__(self) -> int:
        return len(self._places)

    def read(self, place: int) -> tuple[dict[str, Any], RGB, npt.NDArray[np.int32]]:
        """One sample.

        Returns:
            COCO's row of the image with its `segments_info`, the image (H, W, 3) uint8 RGB, its segment ids (H, W) int32.

        Raises:
            ValueError: the sample is cut short or does not decode.
        """
        row, image, labels = self.members(place)
        where = f"sample {place} of {self.where}"
        return json.loads(row), _image(image, where), _ids(labels, where)

    def members(self, place: int) -> tuple[bytes, npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """The contents of a sample's three files, got by one read.

        Raises:
            ValueError: the sample is cut short.
        """
        shard, start, row_size, image_size, labels_size = self._places[place].tolist()
        image_start = padded(row_size) + BLOCK
        labels_start = image_start + padded(image_size) + BLOCK
        size = labels_start + labels_size
        data = self._store.read(self._files[shard], start, size)
        if len(data) != size:
            where = self._store.where(self._files[shard])
            raise ValueError(
                f"{where}: expected {size} bytes from {start} on, but got {len(data)} - copy the shards again"
            )
        return (
            data[:row_size],
            _part(data, image_start, image_size),
            _part(data, labels_start, labels_size),
        )

    def _read_index(self) -> dict[str, Any]:
        try:
            index = load_json(self._store, f"{self._split}/{INDEX}")
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{self.where}: expected the index of a sharded split, but there is none ({error}) - write it with `maskmill shard`"
            ) from error
        missing = {"categories", "shards"} - set(index)
        if missing:
            raise ValueError(
                f"{self.where}: expected an index of shards, but it lacks {sorted(missing)} - write the shards again"
            )
        return dict(index)

    def _check_files(self, shards: list[dict[str, Any]]) -> None:
        """Find a missing or cut file before training, not in its third hour."""
        sizes = self._store.sizes(self._split)
        for shard in shards:
            found = sizes.get(shard["file"])
            if found is None:
                raise FileNotFoundError(
                    f"{self._store.where(self._split)}: expected {shard['file']} as in the index, but it is missing - copy the shards again"
                )
            if found != shard["bytes"]:
                raise ValueError(
                    f"{self._store.where(self._split)}: expected {shard['file']} of {shard['bytes']} bytes, but it has {found} - "
                    "copy the shards again"
                )


def _part(data: bytes, start: int, size: int) -> npt.NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8, size, start)


def _image(data: npt.NDArray[np.uint8], where: str) -> RGB:
    return _array(data) if data[: len(NUMPY)].tobytes() == NUMPY else decode_rgb(data, where)


def _ids(data: npt.NDArray[np.uint8], where: str) -> npt.NDArray[np.int32]:
    return (
        _array(data).astype(np.int32)
        if data[: len(NUMPY)].tobytes() == NUMPY
        else decode_ids(data, where)
    )


def _array(data: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
    """A .npy file's array, copied, since augmentations may write; nothing pickled is read."""
    return np.asarray(np.load(io.BytesIO(data.data), allow_pickle=False))
