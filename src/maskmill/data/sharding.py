"""Copy a prepared data set into shards; `data.shards` describes their format."""

import io
import json
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from maskmill.canonical.dataset_file import read_dataset_file
from maskmill.canonical.files import inside
from maskmill.canonical.folder import ImageRecord, PanopticFolder
from maskmill.canonical.output_folder import replaced_folder
from maskmill.canonical.png import read_ids
from maskmill.data.shards import BLOCK, INDEX, padded
from maskmill.data.stores import LocalStore, Store

Member = tuple[str, bytes]  # file extension and contents


def write_shards(source: Path, store: Store, *, shard_bytes: int, decoded: bool) -> int:
    """Copy a prepared data set into shards.

    dataset.json is written last: without it, an interrupted copy is not a data set.

    Args:
        source: the folder that `prepare` wrote.
        store: an empty URL, or a folder, which is replaced as a whole if `shard` wrote it.
        shard_bytes: a shard ends with the first sample that makes it at least this large.
        decoded: store arrays instead of the bytes of the files: several times the size, but nothing
            to decode.

    Returns:
        the number of images.

    Raises:
        FileNotFoundError: there is no prepared data set, or one of its files is missing.
        ValueError: the URL already contains a data set, or the folder files that `shard` did not
            write.
    """
    if isinstance(store, LocalStore):
        with replaced_folder(store.root, written_by="shard", inputs=[source]) as folder:
            local = LocalStore(folder)
            return _write_splits(source, local, shard_bytes=shard_bytes, decoded=decoded)
    if store.has("dataset.json"):
        raise ValueError(
            f"{store.where('dataset.json')}: expected an empty folder or URL, but it already "
            "contains a data set - either choose another or remove the data set"
        )
    return _write_splits(source, store, shard_bytes=shard_bytes, decoded=decoded)


def _write_splits(source: Path, store: Store, *, shard_bytes: int, decoded: bool) -> int:
    description = source / "dataset.json"
    num_images = 0
    dataset = read_dataset_file(description, required=("splits",))
    for split in dataset["splits"]:
        num_images += _write_split(source, store, split, shard_bytes, decoded)
    store.write("dataset.json", description.read_bytes())
    return num_images


def _write_split(source: Path, store: Store, split: str, shard_bytes: int, decoded: bool) -> int:
    """Write the shards and the index of one split, and return its number of images."""
    folder = PanopticFolder(inside(source, split))
    writer = _ShardWriter(store, split, shard_bytes)
    for record in tqdm(folder.records, desc=split, unit="image", disable=None, leave=False):
        writer.add(list(members(folder, record, decoded=decoded)))
    index = {"categories": folder.categories.as_list(), "shards": writer.close()}
    store.write(f"{split}/{INDEX}", json.dumps(index).encode())
    return len(folder.records)


def members(folder: PanopticFolder, record: ImageRecord, *, decoded: bool) -> Iterator[Member]:
    """The extension and contents of the three files of one sample."""
    row = asdict(record) | {"segments_info": folder.annotation(record.id)["segments_info"]}
    yield "json", json.dumps(row).encode()
    if decoded:
        yield "image.npy", _npy(folder.image(record))
        ids = read_ids(folder.png_path(record.id))
        smallest_type = np.min_scalar_type(int(ids.max()))
        yield "panoptic.npy", _npy(ids.astype(smallest_type))
    else:
        extension = Path(record.file_name).suffix.lower().lstrip(".")
        yield extension, _bytes(folder.image_path(record))
        yield "panoptic.png", _bytes(folder.png_path(record.id))


class _ShardWriter:
    """Fills one temporary tar file after another and uploads each when it is full."""

    def __init__(self, store: Store, split: str, shard_bytes: int) -> None:
        self._store = store
        self._split = split
        self._shard_bytes = shard_bytes
        self._shards: list[dict[str, Any]] = []
        self._samples: list[list[int]] = []  # of the open shard
        self._num_samples = 0  # of all shards
        self._size = 0  # of the open shard, in bytes
        self._file: Any = None

    def add(self, sample: list[Member]) -> None:
        """Write one sample: its row, its image and its labels."""
        if self._file is None:
            self._open()
        sizes = [len(data) for _, data in sample]
        self._samples.append([self._size + BLOCK, *sizes])
        for extension, data in sample:
            # Without time and owner, the same data give the same bytes.
            member = tarfile.TarInfo(f"{self._num_samples:08}.{extension}")
            member.size = len(data)
            self._tar.addfile(member, io.BytesIO(data))
            self._size += BLOCK + padded(len(data))
        self._num_samples += 1
        if self._size >= self._shard_bytes:
            self._upload()

    def close(self) -> list[dict[str, Any]]:
        """Finish the last shard and return the index rows of all shards."""
        if self._file is not None:
            self._upload()
        return self._shards

    def _open(self) -> None:
        self._file = tempfile.NamedTemporaryFile(suffix=".tar")  # noqa: SIM115 - _upload closes it
        self._tar = tarfile.open(  # noqa: SIM115 - _upload closes it
            fileobj=self._file, mode="w", format=tarfile.USTAR_FORMAT
        )
        self._samples = []
        self._size = 0

    def _upload(self) -> None:
        self._tar.close()
        self._file.flush()
        path = Path(self._file.name)
        name = f"shard-{len(self._shards):06}.tar"
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
