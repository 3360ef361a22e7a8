"""A COCO panoptic JSON file, checked row by row; its rows stay in the file."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pydantic

from maskmill.canonical.files import read_json
from maskmill.canonical.json_rows import JsonRows, read_json_rows
from maskmill.canonical.schema import (
    PANOPTIC_JSON,
    AnnotationRow,
    ImageRow,
    require_panoptic_index,
)

TABLES = ("images", "annotations")
IMAGE = pydantic.TypeAdapter(ImageRow)
ANNOTATION = pydantic.TypeAdapter(AnnotationRow)


class RowsById(Mapping[int, Any]):
    """The rows of a table by id, in 32 bytes per row.

    Args:
        ids: of the rows, in their order; each is there once.
        rows: the table.
    """

    def __init__(self, ids: Sequence[int], rows: Sequence[Any]) -> None:
        unsorted = np.array(ids, np.int64)
        self._order = np.argsort(unsorted)
        self._ids = unsorted[self._order]
        self._rows = rows

    def __getitem__(self, key: int) -> Any:
        index = self._find(key)
        if index is None:
            raise KeyError(key)
        return self._rows[index]

    def __contains__(self, key: object) -> bool:
        return isinstance(key, int) and self._find(key) is not None

    def _find(self, key: int) -> int | None:
        position = int(np.searchsorted(self._ids, key))
        if position == len(self._ids) or self._ids[position] != key:
            return None
        return int(self._order[position])

    def __iter__(self) -> Iterator[int]:
        return iter(self._ids.tolist())

    def __len__(self) -> int:
        return len(self._ids)


@dataclass(frozen=True)
class PanopticIndex:
    """The content of a valid file.

    Args:
        images: rows of the form `ImageRow`; None if the file has none, as predictions may.
        annotations: rows of the form `AnnotationRow`.
        image_ids: of the annotations, in their order.
        png_names: the file names of the annotations.
        category_ids: of all segments.
        categories: the rows of the category table; None if the file has none.
    """

    images: Sequence[Any] | None
    annotations: Sequence[Any]
    image_ids: Sequence[int]
    png_names: Sequence[str]
    category_ids: frozenset[int]
    categories: list[dict[str, Any]] | None


def read_panoptic_index(path: Path) -> PanopticIndex:
    """Read an index and check every row.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is no JSON, or see `require_panoptic_index`.
    """
    index = read_json_rows(path, TABLES)
    try:
        return _checked(index)
    except ValueError:
        require_panoptic_index(read_json(path), path)  # describes all that is wrong
        raise


def _checked(index: Any) -> PanopticIndex:
    """The content of an index.

    Raises:
        ValueError: it has another form, or an id or file name twice; the message is of no use.
    """
    PANOPTIC_JSON.validate_python(_without_rows(index))
    names = []
    ids = []
    for row in index.get("images", ()):
        IMAGE.validate_python(row)
        names.append(row["file_name"])
        ids.append(row["id"])
    _require_distinct(names)
    _require_distinct(ids)
    png_names = []
    image_ids = []
    category_ids: set[int] = set()
    for row in index["annotations"]:
        ANNOTATION.validate_python(row)
        png_names.append(row["file_name"])
        image_ids.append(row["image_id"])
        segments = row["segments_info"]
        category_ids.update(map(itemgetter("category_id"), segments))
        _require_distinct(list(map(itemgetter("id"), segments)))
    _require_distinct(png_names)
    _require_distinct(image_ids)
    return PanopticIndex(
        images=index.get("images"),
        annotations=index["annotations"],
        image_ids=image_ids,
        png_names=png_names,
        category_ids=frozenset(category_ids),
        categories=index.get("categories"),
    )


def _without_rows(index: Any) -> Any:
    """The content of a file with its tables empty, since their rows are checked one by one."""
    if not isinstance(index, dict):
        return index
    short = dict(index)
    for key, value in index.items():
        if isinstance(value, JsonRows):
            short[key] = []
    return short


def _require_distinct(values: Sequence[Any]) -> None:
    if len(set(values)) < len(values):
        raise ValueError("a value is repeated")
