"""The labels of one image: an id per pixel and the segments with these ids."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from maskmill.canonical.runs import IntMap, relabel, require_integers, run_lengths

VOID_ID = 0  # segment id of pixels without a label
VOID_CATEGORY = -1  # category id of pixels without a label: 0 may be a real category
MAX_ID = 256**3 - 1  # the largest id that three bytes of a PNG can encode


@dataclass(frozen=True)
class Segment:
    """One region: the visible pixels of a thing, or all pixels of a stuff class.

    Args:
        id: its value in the id map.
        category_id: the data set's own id of its category.
        area: in pixels.
        bbox: x, y, w, h in pixels.
        iscrowd: whether it is a group of objects without single outlines.
        score: confidence of a prediction in 0..1, None for ground truth.
    """

    id: int
    category_id: int
    area: int
    bbox: tuple[int, int, int, int]
    iscrowd: bool = False
    score: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """The COCO form; the key `score` only exists if there is one."""
        row = {
            "id": self.id,
            "category_id": self.category_id,
            "area": self.area,
            "bbox": list(self.bbox),
            "iscrowd": int(self.iscrowd),
        }
        return row if self.score is None else row | {"score": self.score}


@dataclass(frozen=True, eq=False)
class Panoptic:
    """Segment ids (H, W) int32, 0 = void, and the segments; made by `from_ids`.

    Example:
        >>> ids = np.array([[1, 1, 0], [1, 2, 2]])
        >>> panoptic = Panoptic.from_ids(ids, {1: 7, 2: 26})
        >>> panoptic.segments[1]
        Segment(id=2, category_id=26, area=2, bbox=(1, 1, 2, 1), iscrowd=False, score=None)
        >>> panoptic.category_map()
        array([[ 7,  7, -1],
               [ 7, 26, 26]], dtype=int32)
    """

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

    @cached_property
    def score_of(self) -> dict[int, float]:
        """Segment id -> score, of the segments that have one."""
        scores = {}
        for segment in self.segments:
            if segment.score is not None:
                scores[segment.id] = segment.score
        return scores

    def category_map(self) -> npt.NDArray[np.int32]:
        """Category id of every pixel, (H, W) int32; void is -1."""
        return relabel(self.ids, self.category_of, default=VOID_CATEGORY)

    def renumbered(self) -> "Panoptic":
        """The same segments with ids 1..N in their order."""
        new_id = {segment.id: index for index, segment in enumerate(self.segments, start=1)}
        segments = tuple(replace(segment, id=new_id[segment.id]) for segment in self.segments)
        return Panoptic(relabel(self.ids, new_id, default=VOID_ID), segments)

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
            category_of: segment id -> category id; entries without a pixel are ignored.
            crowds: ids of the segments that are crowds.
            scores: segment id -> confidence in 0..1, for predictions. NaN ranks last in AP and is
                left out of the calibration error.

        Returns:
            the map as int32 and its segments, by ascending id.

        Raises:
            ValueError: the map is not two-dimensional or not of integers, has an id outside
                0..2**24 - 1, or has an id that `category_of` lacks.
        """
        if ids.ndim != 2 or ids.size == 0:
            raise ValueError(
                f"Expected an id map of shape (H, W) with pixels, but got shape {ids.shape}"
            )
        require_integers(ids)
        values, areas, boxes = measure(ids)
        if values[0] < 0 or values[-1] > MAX_ID:
            raise ValueError(
                f"Expected segment ids in 0..{MAX_ID}, but got {values[0]}..{values[-1]} - "
                "renumber the segments"
            )
        segment_ids = values.tolist()
        unknown = [key for key in segment_ids if key != VOID_ID and key not in category_of]
        if unknown:
            raise ValueError(
                f"Expected every id of the map among the segments, but {unknown[:5]} are not - "
                "give each a category"
            )
        segments = []
        for key, area, box in zip(segment_ids, areas.tolist(), boxes.tolist(), strict=True):
            if key == VOID_ID:
                continue
            score = None if scores is None else scores.get(key)
            segment = Segment(key, category_of[key], area, tuple(box), key in crowds, score)
            segments.append(segment)
        return cls(np.ascontiguousarray(ids, dtype=np.int32), tuple(segments))


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
    is_new = flat[1:] != flat[:-1]
    is_new[width - 1 :: width] = True  # a run ends with its row, so that it has one x range
    starts = np.concatenate([[0], np.flatnonzero(is_new) + 1])
    lengths = run_lengths(starts, flat.size)

    # Sort the runs by value; those of one value then begin at each entry of `firsts`.
    order = np.argsort(flat[starts], kind="stable")
    run_ids = flat[starts][order]
    is_first = np.concatenate([[True], run_ids[1:] != run_ids[:-1]])
    firsts = np.flatnonzero(is_first)
    lengths = lengths[order]

    y, x = np.divmod(starts[order], width)
    left = np.minimum.reduceat(x, firsts)
    right = np.maximum.reduceat(x + lengths, firsts)
    top = np.minimum.reduceat(y, firsts)
    bottom = np.maximum.reduceat(y, firsts) + 1
    boxes = np.stack([left, top, right - left, bottom - top], axis=1)
    areas = np.add.reduceat(lengths, firsts)
    return run_ids[firsts].astype(np.int64), areas, boxes


@dataclass(frozen=True, eq=False)
class ListedPanoptic:
    """An id map and the segments that a JSON file lists for it, before they are compared.

    Who counts the pixels of every id anyway needs neither areas nor boxes, which take a tenth of
    the time of PQ.

    Args:
        ids: (H, W) int32.
        category_of: segment id -> category id.
        crowds: ids of the segments that are crowds.
        score_of: segment id -> score, of the segments that have one.
        where: the source of map and list, for error messages.
    """

    ids: npt.NDArray[np.int32]
    category_of: dict[int, int]
    crowds: frozenset[int]
    score_of: dict[int, float]
    where: str

    @classmethod
    def from_rows(
        cls, ids: npt.NDArray[np.int32], segments_info: Sequence[Mapping[str, Any]], where: str
    ) -> "ListedPanoptic":
        """The segments of rows of the form `SegmentRow`, with different ids."""
        category_of = {}
        crowds = []
        scores = {}
        for info in segments_info:
            key = info["id"]
            category_of[key] = info["category_id"]
            if info.get("iscrowd"):
                crowds.append(key)
            if "score" in info:
                scores[key] = info["score"]
        return cls(ids, category_of, frozenset(crowds), scores, where)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.ids.shape
        return height, width

    def measured(self) -> Panoptic:
        """The labels with areas and boxes, measured from the map.

        Raises:
            ValueError: map and list disagree on the ids.
        """
        try:
            panoptic = Panoptic.from_ids(
                self.ids, self.category_of, crowds=self.crowds, scores=self.score_of
            )
        except ValueError as error:
            raise ValueError(f"{self.where}: {error}") from error
        absent = sorted(self.category_of.keys() - panoptic.category_of.keys())
        if absent:
            raise ValueError(
                f"{self.where}: segments_info contains ids {absent[:5]}, but no pixel has them - "
                "remove these rows"
            )
        return panoptic
