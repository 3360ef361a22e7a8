"""What all images add to the scores, in a few long arrays instead of forty short ones per image."""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from maskmill.canonical.folder import ImageRecord
from maskmill.evaluation.image_scores import ImageScores
from maskmill.metrics.functional.segment_matching import Matches

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
        self._stops: dict[str, Ints] = {}
        known: dict[bytes, Ints] = {}  # most fields of a dataclass have one length
        for name in map(attrgetter("name"), fields(form)):
            arrays = list(map(attrgetter(name), rows))
            stops = np.cumsum([array.shape[-1] for array in arrays])
            self._columns[name] = np.concatenate(arrays, axis=-1)
            self._stops[name] = known.setdefault(stops.tobytes(), stops)

    def row(self, index: int) -> Row:
        """The dataclass of an image; its arrays are views."""
        values = {}
        for name, column in self._columns.items():
            stops = self._stops[name]
            start = int(stops[index - 1]) if index else 0
            values[name] = column[..., start : int(stops[index])]
        row: Row = self._form(**values)
        return row


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

    def __getitem__(self, index: int) -> ImageScores:
        chunk, row = divmod(index, self._chunk_size)
        return self._chunks[chunk].image(self.records[index], row)

    def __iter__(self) -> Iterator[ImageScores]:
        return map(self.__getitem__, range(len(self)))
