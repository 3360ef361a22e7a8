"""Windows predicted each for itself, their segments joined: for outputs that do not blend, as those of queries."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import VOID_ID, Panoptic
from maskmill.canonical.runs import joint_histogram
from maskmill.postprocess.prediction import Image, Network, Postprocess, Prediction
from maskmill.postprocess.whole_image import stack
from maskmill.postprocess.windows import Span, Tiling

IdMap = npt.NDArray[np.int32]


class StitchedWindows:
    """Overlapping windows, each made into segments; two segments are one where both windows see them and they agree.

    Things of one category whose IoU inside the overlap is at least `min_iou` are joined, through as many windows as they cross; a stuff
    class is one segment anyway. A pixel belongs to the window in whose middle it lies. Memory: 8 bytes per pixel of the image, and two
    rows of windows.

    Args:
        window: height and width in px.
        overlap: share of a window that the next one sees again, at least.
        min_iou: least IoU in the overlap.

    Raises:
        ValueError: a number is out of range.
    """

    def __init__(
        self, window: tuple[int, int], *, overlap: float = 0.5, min_iou: float = 0.5
    ) -> None:
        if not 0 < min_iou <= 1:
            raise ValueError(
                f"Expected argument `min_iou` in (0, 1], but got {min_iou} - mend conf/inference"
            )
        self.tiling, self.min_iou = Tiling(window, overlap), min_iou

    def __call__(
        self, network: Network, postprocess: Postprocess, images: Iterable[Image], batch_size: int
    ) -> Iterator[Prediction]:
        """Predict image by image, window by window: what a postprocess makes of a window does not depend on others in its batch."""
        for image in images:
            yield self._predict(network, postprocess, image)

    def _predict(self, network: Network, postprocess: Postprocess, image: Image) -> Prediction:
        height, width = image.shape[:2]
        segments = Segments(postprocess.table.categories, self.min_iou)
        semantic, ids = np.empty((height, width), np.int32), np.empty((height, width), np.int32)
        rows, columns = _owned(self.tiling.spans(0, height)), _owned(self.tiling.spans(1, width))
        above: list[Tile] = []
        for row, own_rows in rows:
            tiles: list[Tile] = []
            for column, own_columns in columns:
                size = (row.end - row.begin, column.end - column.begin)
                (prediction,) = postprocess(
                    network(stack([image[row.slice, column.slice]])), [size]
                )
                tile = Tile(row, column, segments.add(prediction.panoptic))
                for other in [*above, *tiles[-1:]]:
                    segments.join(tile, other)
                inside = tile.inside(own_rows, own_columns)
                semantic[own_rows, own_columns], ids[own_rows, own_columns] = (
                    prediction.semantic[inside],
                    tile.ids[inside],
                )
                segments.count(tile.ids[inside])
                tiles.append(tile)
            above = tiles
        return Prediction(semantic, segments.panoptic(ids))


@dataclass(frozen=True)
class Tile:
    """A window's segments: ids (h, w) int32 that no other window uses, 0 void."""

    row: Span
    column: Span
    ids: IdMap

    def inside(self, rows: slice, columns: slice) -> tuple[slice, slice]:
        """Rows and columns of the image as those of the window."""
        top, left = self.row.begin, self.column.begin
        return slice(rows.start - top, rows.stop - top), slice(
            columns.start - left, columns.stop - left
        )


class Segments:
    """Segments of all windows of an image, and which of them are one.

    Args:
        categories: the data set's table.
        min_iou: least IoU of two things, in what two windows share, to be one.
    """

    def __init__(self, categories: Categories, min_iou: float) -> None:
        self.categories, self.min_iou = categories, min_iou
        self.category, self.score, self.area = [-1], [0.0], [0]  # of each id; 0 is void
        self.parent = [VOID_ID]
        self._stuff: dict[int, int] = {}

    def add(self, panoptic: Panoptic) -> IdMap:
        """Take in the segments of a window; its ids, new ones."""
        table = np.zeros(
            max((segment.id for segment in panoptic.segments), default=0) + 1, np.int32
        )
        for segment in panoptic.segments:
            number = table[segment.id] = len(self.parent)
            thing = self.categories[segment.category_id].isthing
            self.parent.append(
                int(number) if thing else self._stuff.setdefault(segment.category_id, int(number))
            )
            self.category.append(segment.category_id)
            self.score.append(1.0 if segment.score is None else segment.score)
            self.area.append(0)
        ids: IdMap = table[panoptic.ids]
        return ids

    def join(self, tile: Tile, other: Tile) -> None:
        """Make one of each pair of things that both windows see alike."""
        top, bottom = max(tile.row.begin, other.row.begin), min(tile.row.end, other.row.end)
        left, right = (
            max(tile.column.begin, other.column.begin),
            min(tile.column.end, other.column.end),
        )
        if top >= bottom or left >= right:
            return
        shared = slice(top, bottom), slice(left, right)
        ours, theirs, counts = joint_histogram(
            tile.ids[tile.inside(*shared)], other.ids[other.inside(*shared)]
        )
        our_area, their_area = (
            np.bincount(ids, counts, minlength=len(self.parent)) for ids in (ours, theirs)
        )
        iou = counts / (our_area[ours] + their_area[theirs] - counts)
        for place in np.flatnonzero(
            (iou >= self.min_iou) & (ours != VOID_ID) & (theirs != VOID_ID)
        ).tolist():
            one, two = int(ours[place]), int(theirs[place])
            if self.category[one] == self.category[two]:
                first, second = sorted((self.root(one), self.root(two)))
                self.parent[second] = first

    def root(self, number: int) -> int:
        """The id that stands for all that are one with this one."""
        while self.parent[number] != number:
            self.parent[number] = self.parent[self.parent[number]]
            number = self.parent[number]
        return number

    def count(self, ids: IdMap) -> None:
        """Add the pixels that ids have in the result, by which their scores are weighed."""
        for number, count in zip(*np.unique(ids, return_counts=True), strict=True):
            self.area[number] += int(count)

    def panoptic(self, ids: IdMap) -> Panoptic:
        """The image's segments from the map (H, W) of all windows' ids, which is changed in place."""
        roots = [self.root(number) for number in range(len(self.parent))]
        area, sure = (
            np.bincount(roots, self.area),
            np.bincount(roots, np.multiply(self.area, self.score)),
        )
        visible = [number for number in sorted({*roots} - {VOID_ID}) if area[number]]
        place = {number: new for new, number in enumerate(visible, start=1)}
        table = np.array([place.get(root, VOID_ID) for root in roots], np.int32)
        for row in ids:  # in place: the map is the largest thing here
            row[:] = table[row]
        scores = {place[number]: float(sure[number] / area[number]) for number in visible}
        return Panoptic.from_ids(
            ids, {place[number]: self.category[number] for number in visible}, scores=scores
        )


def _owned(spans: list[Span]) -> list[tuple[Span, slice]]:
    """Each window along an axis with the pixels it decides: up to the middle of what it shares with its neighbours."""
    middles = [
        (before.end + after.begin) // 2 for before, after in zip(spans, spans[1:], strict=False)
    ]
    bounds = [0, *middles, spans[-1].end]
    return [
        (span, slice(begin, end))
        for span, begin, end in zip(spans, bounds, bounds[1:], strict=False)
    ]
