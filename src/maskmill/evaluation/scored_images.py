"""What all images add to the scores, in a few long arrays instead of forty short ones per image."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import count
from operator import attrgetter
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from maskmill.canonical.folder import ImageRecord
from maskmill.evaluation.image_scores import ImageScores
from maskmill.metrics.functional.segment_matching import Matches, Segments

Row = TypeVar("Row")
Ints = npt.NDArray[np.int64]


class _Joined(Generic[Row]):
    """Dataclasses of arrays, one for each image; each field is one array for all of them.

    Args:
        rows: at least one; the last axis of their arrays is joined.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        form: Any = type(rows[0])
        self._form = form
        self._columns: dict[str, npt.NDArray[Any]] = {}
        self._dtypes: dict[str, np.dtype[Any]] = {}
        self._stops: dict[str, Ints] = {}
        known: dict[bytes, Ints] = {}  # most fields of a dataclass have one length
        for name in map(attrgetter("name"), fields(form)):
            arrays = list(map(attrgetter(name), rows))
            stops = np.cumsum([array.shape[-1] for array in arrays])
            column = np.concatenate(arrays, axis=-1)
            self._columns[name] = _narrowed(column)
            self._dtypes[name] = column.dtype
            self._stops[name] = known.setdefault(stops.tobytes(), stops)

    def widened(self) -> "_Joined[Row]":
        """The same with the columns that `row` would otherwise convert image by image."""
        wide = copy.copy(self)
        wide._columns = {}
        for name, column in self._columns.items():
            wide._columns[name] = column.astype(self._dtypes[name], copy=False)
        return wide

    @property
    def lengths(self) -> Ints:
        """How many numbers each image has in the first field, (N,)."""
        stops = next(iter(self._stops.values()))
        return np.diff(stops, prepend=0)

    @classmethod
    def all_rows(cls, parts: Sequence["_Joined[Row]"]) -> Row:
        """One dataclass with the numbers of all images of all parts."""
        values = {}
        for name, dtype in parts[0]._dtypes.items():
            columns = [part._columns[name] for part in parts]
            values[name] = np.concatenate(columns, axis=-1, dtype=dtype)
        row: Row = parts[0]._form(**values)
        return row

    def row(self, index: int) -> Row:
        """The dataclass of an image."""
        values = {}
        for name, column in self._columns.items():
            stops = self._stops[name]
            start = int(stops[index - 1]) if index else 0
            part = column[..., start : int(stops[index])]
            values[name] = part.astype(self._dtypes[name], copy=False)
        row: Row = self._form(**values)
        return row


def _narrowed(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same numbers in as few bytes as all of them fit into: most are small and whole."""
    if column.dtype.kind not in "iuf" or not column.size:
        return column
    if column.dtype.kind == "f":
        with np.errstate(over="ignore"):
            narrow = column.astype(np.float32)
        return narrow if np.array_equal(narrow, column, equal_nan=True) else column
    bounds = np.min_scalar_type(column.min()), np.min_scalar_type(column.max())
    return column.astype(np.result_type(*bounds))


@dataclass(frozen=True)
class AllSegments:
    """The segments of all images on one side, and the index of the image of each."""

    image: Ints
    segments: Segments


class ScoredChunk:
    """What some images add; processes can send it.

    Args:
        images: at least one; all or none of them have masks.
    """

    def __init__(self, images: Sequence[ImageScores]) -> None:
        self._num_classes = images[0].num_classes
        self._joined: dict[str, _Joined[Any]] = {}
        for name in ("matches.pred", "matches.target", "pairs", "boundary", "masks"):
            self._join(name, images)
        self._join("mask_boundaries", images)

    def _join(self, name: str, images: Sequence[ImageScores]) -> None:
        rows = list(map(attrgetter(name), images))
        if rows[0] is not None:
            self._joined[name] = _Joined(rows)

    def side(self, name: str) -> _Joined[Segments]:
        """The segments of one side, `pred` or `target`."""
        return self._joined[f"matches.{name}"]

    def widened(self) -> "ScoredChunk":
        """The same in more memory, for those who ask for all of its images."""
        wide = copy.copy(self)
        wide._joined = {name: joined.widened() for name, joined in self._joined.items()}
        return wide

    def image(self, record: ImageRecord, index: int) -> ImageScores:
        """What the image at an index adds."""
        rows = {name: joined.row(index) for name, joined in self._joined.items()}
        return ImageScores(
            record=record,
            num_classes=self._num_classes,
            matches=Matches(rows["matches.pred"], rows["matches.target"]),
            pairs=rows["pairs"],
            boundary=rows["boundary"],
            masks=rows.get("masks"),
            mask_boundaries=rows.get("mask_boundaries"),
        )


class ScoredImages:
    """What each image adds, in order; made when it is asked for, so that it takes no memory.

    Args:
        records: the images.
        chunks: of so many images each, but for the last.
        chunk_size: images in a chunk.
    """

    def __init__(
        self, records: Sequence[ImageRecord], chunks: Sequence[ScoredChunk], chunk_size: int
    ) -> None:
        self.records = records
        self._chunks = chunks
        self._chunk_size = chunk_size

    def __len__(self) -> int:
        return len(self.records)

    def segments(self, side: Literal["pred", "target"]) -> AllSegments:
        """The segments of one side of all images, in their order."""
        parts = [chunk.side(side) for chunk in self._chunks]
        lengths = np.concatenate([part.lengths for part in parts])
        image = np.repeat(np.arange(len(lengths)), lengths)
        return AllSegments(image, _Joined.all_rows(parts))

    def __getitem__(self, index: int) -> ImageScores:
        chunk, row = divmod(index, self._chunk_size)
        return self._chunks[chunk].image(self.records[index], row)

    def __iter__(self) -> Iterator[ImageScores]:
        for start, chunk in zip(count(0, self._chunk_size), self._chunks, strict=False):
            wide = chunk.widened()
            records = self.records[start : start + self._chunk_size]
            yield from map(wide.image, records, count())
