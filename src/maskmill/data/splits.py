"""The decoded samples of one split, read from the files of `prepare` or from a sharded copy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import Categories
from maskmill.canonical.folder import PanopticFolder
from maskmill.canonical.panoptic import ListedPanoptic, Panoptic
from maskmill.canonical.png import RGB, read_ids
from maskmill.data.shards import INDEX, ShardReader
from maskmill.data.stores import LocalStore, open_store


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """An image and its labels as stored. Areas and boxes are computed only by `panoptic`.

    Args:
        name: identifies the image in error messages.
        image: (H, W, 3) uint8 RGB.
        ids: (H, W) int32 segment ids, 0 = void.
        segments_info: COCO's rows.

    Raises:
        ValueError: image and labels differ in size.
    """

    name: str
    image: RGB
    ids: npt.NDArray[np.int32]
    segments_info: Sequence[Mapping[str, Any]]

    def __post_init__(self) -> None:
        if self.ids.shape != self.image.shape[:2]:
            raise ValueError(
                f"{self.name}: expected labels of the image's size {self.image.shape[:2]}, "
                f"but got {self.ids.shape} - run `dvc repro prepare` again"
            )

    @property
    def category_of(self) -> dict[int, int]:
        """Segment id -> category id."""
        return {int(info["id"]): int(info["category_id"]) for info in self.segments_info}

    @property
    def crowds(self) -> frozenset[int]:
        """Ids of the crowd segments."""
        return frozenset(int(info["id"]) for info in self.segments_info if info.get("iscrowd"))

    def panoptic(self) -> Panoptic:
        """The labels with areas and boxes.

        Raises:
            ValueError: the ids of the map and of `segments_info` differ.
        """
        return ListedPanoptic.from_rows(self.ids, self.segments_info, self.name).measured()


class Split(Protocol):
    """Samples by index."""

    categories: Categories

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> LabelledImage: ...

    def name(self, index: int) -> str:
        """The file name of the image."""
        ...

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of the image, without reading it."""
        ...


class FolderSplit:
    """A split that `prepare` wrote, read from its files.

    Raises:
        FileNotFoundError: the split does not exist.
        ValueError: the split is invalid.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = PanopticFolder(folder)
        self._records = self._folder.records
        self.categories = self._folder.categories

    def __len__(self) -> int:
        return len(self._records)

    def name(self, index: int) -> str:
        """The file name of the image."""
        return self._records[index].file_name

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of the image, from the index."""
        record = self._records[index]
        return record.height, record.width

    def __getitem__(self, index: int) -> LabelledImage:
        record = self._records[index]
        ids = read_ids(self._folder.png_path(record.id))
        image = self._folder.image(record)
        segments_info = self._folder.annotation(record.id)["segments_info"]
        name = f"{record.file_name} of {self._folder.json_path}"
        return LabelledImage(name, image, ids, segments_info)


class ShardedSplit:
    """A split that `maskmill shard` wrote. Each sample is read as one range of bytes of one file.

    Raises:
        FileNotFoundError: the index or a shard is missing.
        ValueError: the index is invalid, or a shard is incomplete.
    """

    def __init__(self, shards: ShardReader) -> None:
        self._shards = shards
        self.categories = shards.categories

    def __len__(self) -> int:
        return len(self._shards)

    def name(self, index: int) -> str:
        """The file name of the image, which is read from the shard."""
        row, _, _ = self._shards.read(index)
        return str(row["file_name"])

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of the image, from its row in the shard."""
        row = self._shards.row(index)
        return int(row["height"]), int(row["width"])

    def __getitem__(self, index: int) -> LabelledImage:
        row, image, ids = self._shards.read(index)
        name = f"{row['file_name']} of {self._shards.where}"
        category_ids = {int(info["category_id"]) for info in row["segments_info"]}
        unknown = sorted(category_ids - self.categories.index.keys())
        if unknown:
            raise ValueError(
                f"{name}: expected categories of the index, but got {unknown} - "
                "write the shards again"
            )
        size = (row["height"], row["width"])
        if image.shape[:2] != size:
            raise ValueError(
                f"{name}: expected an image of {size} pixels, but got {image.shape[:2]} - "
                "write the shards again"
            )
        return LabelledImage(name, image, ids, row["segments_info"])


def open_split(root: str | Path, name: str) -> Split:
    """A split of a data set, stored either as files or as shards.

    Args:
        root: a folder that `prepare` or `shard` wrote, or the URL of shards (s3://BUCKET/FOLDER,
            or any other that fsspec opens).
        name: name of the split.

    Raises:
        FileNotFoundError: the split does not exist.
        ValueError: the split is invalid, or the URL cannot be opened.
        OSError: access to the URL fails.
    """
    store = open_store(root)
    if isinstance(store, LocalStore) and not store.has(f"{name}/{INDEX}"):
        return FolderSplit(store.root / name)
    return ShardedSplit(ShardReader(store, name))
