"""One split as decoded samples, wherever it lies: a folder as `prepare` writes it, or a sharded copy, local or on S3."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import Categories
from maskmill.canonical.folder import PanopticFolder, make_panoptic
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import RGB, read_ids
from maskmill.data.shards import INDEX, ShardReader
from maskmill.data.stores import LocalStore, open_store


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """One sample as it lies on disk. Its ids are not measured yet: training looks at a crop, and only that is worth it.

    Args:
        name: says in errors which.
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
                f"{self.name}: its labels are {self.ids.shape}, but its image is {self.image.shape[:2]} - run `dvc repro prepare` again"
            )

    @property
    def category_of(self) -> dict[int, int]:
        """Segment id -> category id."""
        return {int(info["id"]): int(info["category_id"]) for info in self.segments_info}

    @property
    def crowds(self) -> frozenset[int]:
        """Ids of the segments that stand for a group."""
        return frozenset(int(info["id"]) for info in self.segments_info if info.get("iscrowd"))

    def panoptic(self) -> Panoptic:
        """The labels, measured, and their ids held against the rows in both directions."""
        return make_panoptic(self.ids, self.segments_info, self.name)


class Split(Protocol):
    """Samples by their place."""

    categories: Categories

    def __len__(self) -> int: ...

    def __getitem__(self, place: int) -> LabelledImage: ...

    def name(self, place: int) -> str:
        """The image's file name."""
        ...


class FolderSplit:
    """The files of one split.

    Raises:
        FileNotFoundError: the split is not there.
        ValueError: the split is broken.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = PanopticFolder(folder)
        self._records = self._folder.records
        self.categories = self._folder.categories

    def __len__(self) -> int:
        return len(self._records)

    def name(self, place: int) -> str:
        """The image's file name."""
        return self._records[place].file_name

    def __getitem__(self, place: int) -> LabelledImage:
        record = self._records[place]
        ids = read_ids(self._folder.png_path(record.id))
        return LabelledImage(
            f"{record.file_name} of {self._folder.json_path}",
            self._folder.image(record),
            ids,
            self._folder.annotation(record.id)["segments_info"],
        )


class ShardedSplit:
    """A split that `maskmill shard` wrote, read sample by sample: one range of one file each.

    Raises:
        FileNotFoundError: the index or a shard is not there.
        ValueError: the index is broken, or a shard is cut short.
    """

    def __init__(self, shards: ShardReader) -> None:
        self._shards = shards
        self.categories = shards.categories

    def __len__(self) -> int:
        return len(self._shards)

    def name(self, place: int) -> str:
        """The image's file name, which stands in the shard."""
        return str(self._shards.read(place)[0]["file_name"])

    def __getitem__(self, place: int) -> LabelledImage:
        row, image, ids = self._shards.read(place)
        name = f"{row['file_name']} of {self._shards.where}"
        unknown = sorted(
            {int(info["category_id"]) for info in row["segments_info"]}
            - self.categories.index.keys()
        )
        if unknown or image.shape[:2] != (row["height"], row["width"]):
            raise ValueError(
                f"{name}: its size or its categories {unknown} are not those of the index - write the shards again"
            )
        return LabelledImage(name, image, ids, row["segments_info"])


def open_split(root: str | Path, name: str) -> Split:
    """The split `name` of a data set, as files or as shards, whichever is there.

    Args:
        root: a folder that `prepare` or `shard` wrote, or s3://BUCKET/PREFIX with shards.
        name: of the split.

    Raises:
        FileNotFoundError: there is no such split.
        ValueError: the split is broken, or its place cannot be read.
    """
    store = open_store(root)
    if isinstance(store, LocalStore) and not store.has(f"{name}/{INDEX}"):
        return FolderSplit(store.root / name)
    return ShardedSplit(ShardReader(store, name))
