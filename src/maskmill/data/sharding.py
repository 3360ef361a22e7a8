"""A prepared data set to shards: see `data.shards` for their form."""

import io
import json
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from maskmill.canonical.files import read_json
from maskmill.canonical.folder import ImageRecord, PanopticFolder
from maskmill.canonical.output_folder import replaced_folder
from maskmill.canonical.png import read_ids
from maskmill.data.shards import BLOCK, INDEX, padded
from maskmill.data.stores import LocalStore, Store

Member = tuple[str, bytes]


def write_shards(source: Path, store: Store, *, shard_bytes: int, decoded: bool) -> int:
    """Copy a prepared data set into shards; its dataset.json comes last and makes the copy readable.

    Args:
        source: what `prepare` wrote.
        store: a folder, which is replaced as a whole if `shard` wrote it, or an empty prefix on S3.
        shard_bytes: a shard ends with the first sample that makes it as long as this.
        decoded: store arrays instead of the files' own bytes: several times the space, and nothing to decode.

    Returns:
        the number of images.

    Raises:
        FileNotFoundError: there is no prepared data set, or one of its files is missing.
        ValueError: the store contains a data set or files that `shard` did not write.
    """
    if isinstance(store, LocalStore):
        with replaced_folder(store.root, written_by="shard", inputs=[source]) as folder:
            local = LocalStore(folder)
            return _write_splits(source, local, shard_bytes=shard_bytes, decoded=decoded)
    if store.has("dataset.json"):
        raise ValueError(
            f"{store.where('dataset.json')}: expected an empty place, but a data set is there - choose another, or remove it"
        )
    return _write_splits(source, store, shard_bytes=shard_bytes, decoded=decoded)


def _write_splits(source: Path, store: Store, *, shard_bytes: int, decoded: bool) -> int:
    description = source / "dataset.json"
    splits = read_json(description)["splits"]
    number = 0
    for split in splits:
        folder = PanopticFolder(source / split)
        writer = _ShardWriter(store, split, shard_bytes)
        for record in tqdm(folder.records, desc=split, unit="image", disable=None, leave=False):
            writer.add(list(members(folder, record, decoded=decoded)))
        number += len(folder.records)
        shards = writer.close()
        store.write(
            f"{split}/{INDEX}",
            json.dumps({"categories": folder.categories.as_list(), "shards": shards}).encode(),
        )
    store.write("dataset.json", description.read_bytes())
    return number


def members(folder: PanopticFolder, record: ImageRecord, *, decoded: bool) -> Iterable[Member]:
    """The three files of one sample: ending and contents."""
    row = asdict(record) | {"segments_info": folder.annotation(record.id)["segments_info"]}
    yield "json", json.dumps(row).encode()
    if decoded:
        yield "image.npy", _npy(folder.image(record))
        ids = read_ids(folder.png_path(record.id))
        yield "panoptic.npy", _npy(ids.astype(np.min_scalar_type(int(ids.max()))))
    else:
        yield Path(record.file_name).suffix.lower().lstrip("."), _bytes(folder.image_path(record))
        yield "panoptic.png", _bytes(folder.png_path(record.id))


class _ShardWriter:
    """Fills one tar file after the other; each is handed to the store when it is full."""

    def __init__(self, store: Store, split: str, shard_bytes: int) -> None:
        self._store, self._split, self._shard_bytes = store, split, shard_bytes
        self._shards: list[dict[str, Any]] = []
        self._samples: list[list[int]] = []
        self._number = self._size = 0
        self._file: Any = None

    def add(self, sample: list[Member]) -> None:
        """Write one sample: its row, its image, its labels."""
        if self._file is None:
            self._file = tempfile.NamedTemporaryFile(suffix=".tar")  # noqa: SIM115 - closed when it is full
            self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
            self._samples, self._size = [], 0
        self._samples.append([self._size + BLOCK, *(len(data) for _, data in sample)])
        for ending, data in sample:
            member = tarfile.TarInfo(
                f"{self._number:08}.{ending}"
            )  # without time or owner: the same data make the same bytes
            member.size = len(data)
            self._tar.addfile(member, io.BytesIO(data))
            self._size += BLOCK + padded(len(data))
        self._number += 1
        if self._size >= self._shard_bytes:
            self._hand_over()

    def close(self) -> list[dict[str, Any]]:
        """Finish the last shard; the index's rows of all."""
        if self._file is not None:
            self._hand_over()
        return self._shards

    def _hand_over(self) -> None:
        self._tar.close()
        self._file.flush()
        name, path = f"shard-{len(self._shards):06}.tar", Path(self._file.name)
        self._shards.append({"file": name, "bytes": path.stat().st_size, "samples": self._samples})
        self._store.upload(f"{self._split}/{name}", path)
        self._file.close()
        self._file = None


def _bytes(path: Path) -> bytes:
    return LocalStore(path.parent).read(path.name)


def _npy(array: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
