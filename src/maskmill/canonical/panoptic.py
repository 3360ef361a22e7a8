"""One image's labels: an id per pixel and what each id is."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from maskmill.canonical.runs import IntMap, relabel, run_lengths

VOID_ID = 0  # segment id of pixels without a label
VOID_CATEGORY = -1  # category id of pixels without a label: 0 may be a real category
MAX_ID = 256**3 - 1  # what three bytes of a PNG can hold


@dataclass(frozen=True)
class Segment:
    """One region: a thing's visible pixels, or all pixels of a stuff class. `bbox` is x, y, w, h in pixels."""

    id: int
    category_id: int
    area: int
    bbox: tuple[int, int, int, int]
    iscrowd: bool = False
    score: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """The COCO form."""
        row = {
            "id": self.id,
            "category_id": self.category_id,
            "area": self.area,
            "bbox": list(self.bbox),
        }
        return (
            row
            | {"iscrowd": int(self.iscrowd)}
            | ({} if self.score is None else {"score": self.score})
        )


@dataclass(frozen=True, eq=False)
class Panoptic:
    """Segment ids (H, W) int32, 0 = void, and the segments those ids name. Build it with `from_ids`, which measures them."""

    ids: npt.NDArray[np.int32]
    segments: tuple[Segment, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.ids.shape
        return height, width

    @cached_property
    def category_of(self) -> dict[int, int]:
        """Segment id -> category id."""
        return {segment.id: segment.category_id for segment in self.segments}

    @cached_property
    def crowds(self) -> frozenset[int]:
        """Ids of the segments that are crowds."""
        return frozenset(segment.id for segment in self.segments if segment.iscrowd)

    def category_map(self) -> npt.NDArray[np.int32]:
        """Category id of every pixel, (H, W) int32; void is -1."""
        return relabel(self.ids, self.category_of, default=VOID_CATEGORY)

    def renumbered(self) -> "Panoptic":
        """The same segments with ids 1..N in their order."""
        table = {segment.id: place for place, segment in enumerate(self.segments, start=1)}
        segments = tuple(replace(segment, id=table[segment.id]) for segment in self.segments)
        return Panoptic(relabel(self.ids, table, default=VOID_ID), segments)

    @classmethod
    def from_ids(
        cls,
        ids: IntMap,
        category_of: Mapping[int, int],
        *,
        crowds: Collection[int] = (),
        scores: Mapping[int, float] | None = None,
    ) -> "Panoptic":
        """Measure every segment of an id map.

        Args:
            ids: (H, W) integers, 0 = void, at most 2**24 - 1.
            category_of: segment id -> category id. Entries without a pixel are left out of the result.
            crowds: ids of the segments that stand for a group.
            scores: segment id -> confidence in 0..1, for predictions.

        Returns:
            the map as int32 and its segments, by ascending id.

        Raises:
            ValueError: the map is not two-dimensional, has an id outside 0..2**24 - 1, or one that `category_of` lacks.
        """
        if ids.ndim != 2 or ids.size == 0:
            raise ValueError(
                f"Expected an id map of shape (H, W) with pixels, but got shape {ids.shape}"
            )
        values, areas, boxes = measure(ids)
        if values[0] < 0 or values[-1] > MAX_ID:
            raise ValueError(
                f"Expected segment ids in 0..{MAX_ID}, but got {values[0]}..{values[-1]} - renumber the segments"
            )
        unknown = [
            int(value) for value in values if value != VOID_ID and int(value) not in category_of
        ]
        if unknown:
            raise ValueError(
                f"Expected every id of the map among the segments, but {unknown[:5]} are not - give each a category"
            )
        segments = tuple(
            Segment(
                id=int(value),
                category_id=category_of[int(value)],
                area=int(area),
                bbox=(int(box[0]), int(box[1]), int(box[2]), int(box[3])),
                iscrowd=int(value) in crowds,
                score=None if scores is None else scores.get(int(value)),
            )
            for value, area, box in zip(values, areas, boxes, strict=True)
            if value != VOID_ID
        )
        return cls(np.ascontiguousarray(ids, dtype=np.int32), segments)


def measure(
    ids: IntMap,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Area and bounding box of every value in a map.

    Args:
        ids: (H, W) integers.

    Returns:
        values (N,) ascending, areas (N,) in pixels, boxes (N, 4) as x, y, w, h in pixels.
    """
    width = ids.shape[1]
    flat = np.ascontiguousarray(ids).reshape(-1)
    new = flat[1:] != flat[:-1]
    new[width - 1 :: width] = True  # a run ends with its row, so its x range is its box's
    starts = np.concatenate([[0], np.flatnonzero(new) + 1])
    lengths = run_lengths(starts, flat.size)
    order = np.argsort(flat[starts], kind="stable")
    run_ids = flat[starts][order]
    firsts = np.flatnonzero(np.concatenate([[True], run_ids[1:] != run_ids[:-1]]))
    y, x = np.divmod(starts[order], width)
    x_end = x + lengths[order]
    left, right = np.minimum.reduceat(x, firsts), np.maximum.reduceat(x_end, firsts)
    top, bottom = np.minimum.reduceat(y, firsts), np.maximum.reduceat(y, firsts) + 1
    boxes = np.stack([left, top, right - left, bottom - top], axis=1)
    return run_ids[firsts].astype(np.int64), np.add.reduceat(lengths[order], firsts), boxes
