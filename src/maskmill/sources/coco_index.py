"""The JSON files of COCO's forms: which images and annotations they list, and for which splits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import inside, read_json
from maskmill.sources.folders import require_folder
from maskmill.sources.source import Sample
from maskmill.sources.splits import Split, as_split

KEYS = {"images", "annotations", "categories"}


@dataclass(frozen=True)
class CocoPart:
    """A JSON file and the folders it refers to, relative to the root.

    Args:
        annotations: the JSON file.
        images: the folder of the images.
        splits: split -> share of the images, assigned by a hash of the file name (one split of
            share 1 takes all), or a rule of `splits`.
        labels: the folder of the PNGs of panoptic data; by default beside the JSON file, with its
            name.
        seed: seed of the hash.
    """

    annotations: str
    images: str
    splits: dict[str, float] | Split
    labels: str | None = None
    seed: int = 0

    @property
    def split(self) -> Split:
        """The rule that assigns images to splits."""
        return as_split(self.splits, seed=self.seed)


@dataclass(frozen=True)
class CocoSample(Sample):
    """A sample with its `segments_info`, or with its annotations."""

    segments_info: tuple[dict[str, Any], ...] = ()


def read_index(root: Path, part: CocoPart, form: str) -> tuple[Path, dict[str, Any]]:
    """The path and the content of a JSON file.

    Args:
        root: the data set's folder.
        part: names the file.
        form: what the file should be, for the message.

    Raises:
        ValueError: the file is no JSON object with COCO's keys.
    """
    path = inside(require_folder(root), part.annotations)
    index = read_json(path)
    missing = KEYS - set(index)
    if missing:
        raise ValueError(
            f"{path}: expected {form}, but it lacks {sorted(missing)} - check conf/source"
        )
    return path, dict(index)


def common_categories(
    root: Path,
    parts: Sequence[CocoPart],
    table_of: Callable[[Sequence[dict[str, Any]]], Categories],
) -> Categories:
    """The category table that all parts share; `table_of` makes it from the rows of a JSON file.

    Raises:
        ValueError: two parts have different tables.
    """
    tables = []
    for part in parts:
        _, index = read_index(root, part, "COCO JSON")
        tables.append(table_of(index["categories"]))
    for part, table in zip(parts, tables, strict=True):
        if table != tables[0]:
            raise ValueError(
                f"{root}: expected one category table, but {parts[0].annotations} and "
                f"{part.annotations} differ - export both with the same table"
            )
    return tables[0]
