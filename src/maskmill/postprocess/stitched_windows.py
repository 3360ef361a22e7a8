"""Inference in overlapping windows whose segments are joined.

For networks whose outputs cannot be blended, such as those of queries.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
from annotated_types import Interval

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import VOID_ID, Panoptic
from maskmill.canonical.runs import joint_histogram
from maskmill.postprocess.prediction import Image, Network, Postprocess, Prediction
from maskmill.postprocess.whole_image import stack
from maskmill.postprocess.windows import Overlap, Span, Tiling, WindowSize

IdMap = npt.NDArray[np.int32]


class StitchedWindows:
    """Overlapping windows, each post-processed on its own, whose segments are joined.

    Things of one category are joined if their IoU inside the overlap of two windows is at least
    `min_iou`, across any number of windows; a stuff class is always one segment. Each pixel gets
    the segment of the window whose middle is nearest. Memory: 12 bytes per pixel of the image, and
    two rows of windows.

    Args:
        window: height and width in px; None: those of the crops that the model was trained with,
            which are known when it is loaded.
        overlap: minimum share of a window that the next window covers too.
        min_iou: minimum IoU inside the overlap.
    """

    def __init__(
        self,
        window: WindowSize | None,
        *,
        overlap: Overlap = 0.5,
        min_iou: Annotated[float, Interval(gt=0, le=1)] = 0.5,
    ) -> None:
        self.tiling = Tiling(window, overlap)
        self.min_iou = min_iou
        self.averages_logits = False
        self.needs_torch = False

    def __call__(
        self, network: Network, postprocess: Postprocess, images: Iterable[Image], batch_size: int
    ) -> Iterator[Prediction]:
        """The prediction for each image, one window at a time.

        Post-processing handles each window on its own, so `batch_size` has no effect.
        """
        for image in images:
            yield self._predict(network, postprocess, image)

    def _predict(self, network: Network, postprocess: Postprocess, image: Image) -> Prediction:
        height, width = image.shape[:2]
        columns = _assign_pixels(self.tiling.spans(1, width))
        segments = JoinedSegments(postprocess.table.categories, self.min_iou)
        semantic = np.empty((height, width), np.int32)
        ids = np.empty((height, width), np.int32)
        confidence = np.zeros((height, width), np.float32)
        tiles_above: list[Tile] = []
        for row, own_rows in _assign_pixels(self.tiling.spans(0, height)):
            tiles: list[Tile] = []
            for column, own_columns in columns:
                outputs = network(stack([image[row.slice, column.slice]]))
                (prediction,) = postprocess(outputs, [(row.length, column.length)])
                tile = Tile(row, column, segments.add(prediction.panoptic))
                for neighbour in [*tiles_above, *tiles[-1:]]:
                    segments.join(tile, neighbour)
                inside = tile.inside(own_rows, own_columns)
                semantic[own_rows, own_columns] = prediction.semantic[inside]
                ids[own_rows, own_columns] = tile.ids[inside]
                if prediction.confidence is not None:
                    confidence[own_rows, own_columns] = prediction.confidence[inside]
                segments.count(tile.ids[inside])
                tiles.append(tile)
            tiles_above = tiles
        return Prediction(semantic, segments.panoptic(ids), confidence)


@dataclass(frozen=True)
class Tile:
    """The segments of one window.

    Args:
        row: of the window.
        column: of the window.
        ids: (H, W) int32 of the window; no other window uses them; 0 is void.
    """

    row: Span
    column: Span
    ids: IdMap

    def inside(self, rows: slice, columns: slice) -> tuple[slice, slice]:
        """Rows and columns of the image as rows and columns of the window."""
        top = self.row.start
        left = self.column.start
        window_rows = slice(rows.start - top, rows.stop - top)
        window_columns = slice(columns.start - left, columns.stop - left)
        return window_rows, window_columns


class JoinedSegments:
    """The segments of all windows of an image, and which of them are the same segment.

    Args:
        categories: of the data set.
        min_iou: minimum IoU of two things, inside the overlap of two windows, to be joined.
    """

    def __init__(self, categories: Categories, min_iou: float) -> None:
        self.categories = categories
        self.min_iou = min_iou
        # Lists by segment id, which start with void
        self.category = [-1]
        self.score = [0.0]
        self.area = [0]
        self.parent = [VOID_ID]
        self._id_of_stuff: dict[int, int] = {}

    def add(self, panoptic: Panoptic) -> IdMap:
        """Add the segments of a window, and return its id map with new ids."""
        max_id = max((segment.id for segment in panoptic.segments), default=0)
        new_id_of = np.zeros(max_id + 1, np.int32)
        for segment in panoptic.segments:
            new_id = len(self.parent)
            new_id_of[segment.id] = new_id
            parent = new_id
            if not self.categories[segment.category_id].isthing:
                parent = self._id_of_stuff.setdefault(segment.category_id, new_id)
            self.parent.append(parent)
            self.category.append(segment.category_id)
            self.score.append(1.0 if segment.score is None else segment.score)
            self.area.append(0)
        ids: IdMap = new_id_of[panoptic.ids]
        return ids

    def join(self, tile: Tile, neighbour: Tile) -> None:
        """Join the things of two windows that match inside their overlap."""
        rows = _intersection(tile.row, neighbour.row)
        columns = _intersection(tile.column, neighbour.column)
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return
        our_ids = tile.ids[tile.inside(rows, columns)]
        their_ids = neighbour.ids[neighbour.inside(rows, columns)]
        ours, theirs, intersection = joint_histogram(our_ids, their_ids)  # (N,) pairs of ids
        our_area = np.bincount(ours, intersection, minlength=len(self.parent))
        their_area = np.bincount(theirs, intersection, minlength=len(self.parent))
        union = our_area[ours] + their_area[theirs] - intersection
        iou = intersection / union
        is_match = (iou >= self.min_iou) & (ours != VOID_ID) & (theirs != VOID_ID)
        for our_id, their_id in zip(
            ours[is_match].tolist(), theirs[is_match].tolist(), strict=True
        ):
            if self.category[our_id] == self.category[their_id]:
                first, second = sorted([self.root(our_id), self.root(their_id)])
                self.parent[second] = first

    def root(self, segment_id: int) -> int:
        """The id that represents all segments that are joined with this one."""
        while self.parent[segment_id] != segment_id:
            self.parent[segment_id] = self.parent[self.parent[segment_id]]
            segment_id = self.parent[segment_id]
        return segment_id

    def count(self, ids: IdMap) -> None:
        """Add the pixels of each id in the result; they weight the scores."""
        unique_ids, counts = np.unique(ids, return_counts=True)
        for segment_id, count in zip(unique_ids.tolist(), counts.tolist(), strict=True):
            self.area[segment_id] += count

    def panoptic(self, ids: IdMap) -> Panoptic:
        """The segments of the image.

        Args:
            ids: (H, W) of all windows; changed in place.
        """
        roots = [self.root(segment_id) for segment_id in range(len(self.parent))]
        area = np.bincount(roots, self.area)
        total_score = np.bincount(roots, np.multiply(self.area, self.score))
        new_id_of_root = {}
        category_of: dict[int, int] = {}
        scores = {}
        for root in sorted(set(roots) - {VOID_ID}):
            if area[root]:
                new_id = len(category_of) + 1
                new_id_of_root[root] = new_id
                category_of[new_id] = self.category[root]
                scores[new_id] = float(total_score[root] / area[root])
        new_ids = [new_id_of_root.get(root, VOID_ID) for root in roots]
        new_id_of = np.array(new_ids, np.int32)
        for row in ids:  # in place, because the map is the largest array here
            row[:] = new_id_of[row]
        return Panoptic.from_ids(ids, category_of, scores=scores)


def _intersection(span: Span, other: Span) -> slice:
    """Pixels in both spans; empty if start >= stop."""
    return slice(max(span.start, other.start), min(span.stop, other.stop))


def _assign_pixels(spans: list[Span]) -> list[tuple[Span, slice]]:
    """Each window along an axis with its own pixels.

    They end in the middle of the pixels that the window shares with its neighbours.
    """
    assigned = []
    start = 0
    for span, next_span in zip(spans, spans[1:], strict=False):
        middle = (span.stop + next_span.start) // 2
        assigned.append((span, slice(start, middle)))
        start = middle
    assigned.append((spans[-1], slice(start, spans[-1].stop)))
    return assigned
