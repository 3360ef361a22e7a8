"""Grouping of Panoptic-DeepLab: pixels to centres, centres to instances.

Cheng et al., CVPR 2020 (arXiv:1911.10194), sec. 3.3.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import cv2
import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Interval

from maskmill.canonical.categories import Categories
from maskmill.postprocess.calibration import Calibration
from maskmill.postprocess.outputs import ClassIndices, Floats, PanopticDeepLabOutputs
from maskmill.postprocess.prediction import Prediction, Size
from maskmill.postprocess.semantic import (
    ClassTable,
    Doubles,
    Ints,
    SegmentMap,
    sum_per_class,
)

# Pixels processed at a time, 1024 x 2048. Each needs about 100 bytes, so larger images are split
# into bands of rows.
MAX_PIXELS = 2**21
# Distances from pixels to centres in memory at a time: 8 MiB, which fit into caches. 2**24 is four
# times slower.
MAX_DISTANCES = 2**20
SQUARE = 8  # side in px of the squares of which most have one nearest peak


class PanopticGrouping:
    """Assigns each thing pixel to the centre that it points at.

    An instance has the class of most of its pixels. Its score is the mean probability of that class
    over its pixels, where pixels of other classes count as 0: an estimate of how much of the mask
    is right, by which AP ranks. The paper also multiplies by the height of the centre, which says
    how well the centre is placed: with it, AP was lower on three of four sets and the same on one
    (docs/benchmarks.md).

    Args:
        threshold: minimum height of a centre in the heatmap; 0.1 in the paper.
        nms_kernel: side in px of the window in which a centre must be the highest, odd; 7 in the
            paper.
        top_k: maximum number of centres per image; 200 in the paper.
        min_area_px: smaller instances become void.
        stuff_area_px: smaller stuff segments become void; 2048 in the paper for 1024 x 2048 px.
        keep_stuff: False keeps things only, for instance segmentation.
        calibration: of confidences and scores; None: they are those of the network.
        categories: of the data set.

    Raises:
        ValueError: `nms_kernel` is even.

    Example:
        >>> from maskmill.canonical.categories import Category
        >>> cell = Categories([Category(5, "cell", True, (220, 90, 20))])  # and background
        >>> limits = {"top_k": 200, "min_area_px": 0, "stuff_area_px": 0}
        >>> grouping = PanopticGrouping(threshold=0.1, nms_kernel=3, **limits, categories=cell)
        >>> classes = np.array([[[0, 0, 1, 0, 0]]])  # (1, 1, 5)
        >>> outputs = {"classes": classes, "confidence": np.ones((1, 1, 5), np.float32)}
        >>> outputs["center"] = np.array([[[[0.9, 0, 0, 0, 0.8]]]], np.float32)  # (1, 1, 1, 5)
        >>> outputs["offset"] = np.zeros((1, 2, 1, 5), np.float32)
        >>> grouping(outputs, [(1, 5)])[0].panoptic.ids
        array([[1, 1, 0, 2, 2]], dtype=int32)
    """

    def __init__(
        self,
        *,
        threshold: Annotated[float, Interval(ge=0, le=1)],
        nms_kernel: Annotated[int, Ge(1)],
        top_k: Annotated[int, Ge(1)],
        min_area_px: Annotated[int, Ge(0)],
        stuff_area_px: Annotated[int, Ge(0)],
        keep_stuff: bool = True,
        calibration: Calibration | None = None,
        categories: Categories,
    ) -> None:
        if nms_kernel % 2 == 0:
            raise ValueError(
                f"Expected an odd `nms_kernel`, but got {nms_kernel} - "
                "set task.postprocess.nms_kernel to an odd number"
            )
        self.threshold = threshold
        self.nms_kernel = nms_kernel
        self.top_k = top_k
        self.min_area_px = max(min_area_px, 1)
        self.stuff_area_px = max(stuff_area_px, 1)
        self.keep_stuff = keep_stuff
        self.table = ClassTable(categories, calibration)

    def __call__(self, outputs: PanopticDeepLabOutputs, sizes: Sequence[Size]) -> list[Prediction]:
        """One prediction per image.

        Args:
            outputs: for a batch.
            sizes: of the images, which may be padded at the right and bottom.
        """
        predictions = []
        for classes, confidence, center, offset, (height, width) in zip(
            outputs["classes"],
            outputs["confidence"],
            outputs["center"],
            outputs["offset"],
            sizes,
            strict=True,
        ):
            prediction = self._predict(
                classes[:height, :width],
                confidence[:height, :width],
                center[0, :height, :width],
                offset[:, :height, :width],
            )
            predictions.append(prediction)
        return predictions

    def _predict(
        self, classes: ClassIndices, confidence: Floats, center: Floats, offset: Floats
    ) -> Prediction:
        segments = self.group(classes, confidence, center, offset)
        if self.keep_stuff:
            segments = self._add_stuff(segments, classes, confidence)
        semantic = self.table.category_map(classes)
        return Prediction(semantic, self.table.panoptic(segments), confidence)

    def group(
        self, classes: ClassIndices, confidence: Floats, center: Floats, offset: Floats
    ) -> SegmentMap:
        """Thing instances of one image.

        Args:
            classes: (H, W) class indices.
            confidence: (H, W), the probability of the class.
            center: (H, W) heatmap.
            offset: (2, H, W), (dy, dx) in px.
        """
        num_classes = len(self.table.is_thing)
        peaks = self._find_peaks(center)  # (N, 2)
        num_peaks = len(peaks)
        ids = np.zeros(classes.shape, np.int32)  # (H, W), peak + 1
        if num_peaks == 0:
            return SegmentMap(ids, np.zeros(0, np.int64), np.zeros(0))
        votes = np.zeros((num_peaks, num_classes), np.int64)  # (N, K)
        total_confidence = np.zeros((num_peaks, num_classes))  # (N, K)
        peak_of_square = _find_nearest_of_squares(peaks, classes.shape)
        for top, bottom in _bands(classes):
            rows = classes[top:bottom].ravel()
            pixel = self.table.is_thing[rows].nonzero()[0]  # (pixels,)
            y, x = np.divmod(pixel, classes.shape[1])
            points = offset[:, top:bottom].reshape(2, -1).take(pixel, axis=1).astype(np.float64)
            points += (y + top, x)  # (2, pixels)
            peak = _look_up_nearest(points.T, peaks, peak_of_square)  # (pixels,)
            pairs = peak * num_classes + rows.take(pixel)
            votes += np.bincount(pairs, minlength=votes.size).reshape(votes.shape)
            thing_confidence = confidence[top:bottom].ravel().take(pixel)
            sums = np.bincount(pairs, thing_confidence, minlength=votes.size)
            total_confidence += sums.reshape(votes.shape)
            ids[top:bottom].reshape(-1)[pixel] = peak + 1
        area = votes.sum(axis=1)  # (N,)
        kept = (area >= self.min_area_px).nonzero()[0]
        id_of_peak = np.zeros(num_peaks + 1, np.int32)  # by peak + 1
        id_of_peak[kept + 1] = np.arange(1, len(kept) + 1)
        class_of_peak = votes.argmax(axis=1)  # (N,)
        scores = total_confidence[np.arange(num_peaks), class_of_peak] / np.maximum(area, 1)
        return SegmentMap(id_of_peak[ids], class_of_peak[kept], scores[kept])

    def _find_peaks(self, center: Floats) -> Ints:
        """Positions (N, 2) in px of the peaks of the heatmap (H, W), the highest first."""
        bands = [self._find_peaks_in_rows(center, top, bottom) for top, bottom in _bands(center)]
        positions = np.concatenate(bands)  # (N, 2)
        heights = center[positions[:, 0], positions[:, 1]]
        highest: Ints = positions[np.argsort(-heights, kind="stable")[: self.top_k]]
        return highest

    def _find_peaks_in_rows(self, center: Floats, top: int, bottom: int) -> Ints:
        """Positions (N, 2) of the peaks in some rows.

        Neighbouring pixels can have the same height, above all after rounding to bfloat16. Two
        centres would split the instance, so the first pixel is the peak.
        """
        # Half a window around a row decides whether it contains a peak. Another half decides
        # whether that peak is the first among equals.
        first_row = max(0, top - self.nms_kernel + 1)
        rows = center[first_row : bottom + self.nms_kernel - 1]
        is_highest = (rows == self._max_in_window(rows)) & (rows > self.threshold)
        order = np.zeros(rows.shape)  # larger for earlier pixels, 0 elsewhere
        order[is_highest] = np.arange(np.count_nonzero(is_highest), 0, -1)
        is_peak = is_highest & (order == self._max_in_window(order))
        positions = np.argwhere(is_peak[top - first_row : bottom - first_row])
        positions[:, 0] += top
        return positions

    def _max_in_window(
        self, values: npt.NDArray[np.floating[Any]]
    ) -> npt.NDArray[np.floating[Any]]:
        """The maximum of the window around each pixel of a map (H, W)."""
        window = np.ones((self.nms_kernel, self.nms_kernel), np.uint8)
        return np.asarray(cv2.dilate(values, window), values.dtype)

    def _add_stuff(
        self, things: SegmentMap, classes: ClassIndices, confidence: Floats
    ) -> SegmentMap:
        """Add a segment for every stuff class that is large enough; their ids follow the things."""
        is_thing = self.table.is_thing
        area, total_confidence = sum_per_class(classes, confidence, len(is_thing))  # (K,)
        is_kept = (area >= self.stuff_area_px) & ~is_thing
        is_kept[len(self.table.categories) :] = False  # background is not a segment
        rank = is_kept.cumsum()
        id_of_class = ((rank + len(things.classes)) * is_kept).astype(np.int32)  # (K,), 0: dropped
        # A pixel is in a thing or in stuff, so that one of its two ids is 0.
        ids = things.ids + id_of_class[classes]
        kept = is_kept.nonzero()[0]
        scores = (total_confidence / np.maximum(area, 1))[kept]
        return SegmentMap(
            ids, np.concatenate([things.classes, kept]), np.concatenate([things.scores, scores])
        )


def _find_nearest_of_squares(peaks: Ints, size: Size) -> Ints:
    """Index of the nearest peak (N, 2) of each square of an image: (rows + 2, columns + 2).

    The points that are nearest to one peak form a convex region. So if a peak is the nearest to the
    four corners of a square, it is the nearest to every point inside. -1 stands for the other
    squares, and for the border: all points outside the image.
    """
    rows = -(-size[0] // SQUARE)
    columns = -(-size[1] // SQUARE)
    corners = SQUARE * np.indices((rows + 1, columns + 1)).reshape(2, -1)
    nearest = _find_nearest(corners.T.astype(np.float64), peaks).reshape(rows + 1, columns + 1)
    first = nearest[:-1, :-1]
    is_same = (nearest[:-1, 1:] == first) & (nearest[1:, :-1] == first) & (nearest[1:, 1:] == first)
    return np.pad(np.where(is_same, first, -1), 1, constant_values=-1)


def _look_up_nearest(points: Doubles, peaks: Ints, peak_of_square: Ints) -> Ints:
    """Index of the peak (N, 2) that is nearest to each point (pixels, 2).

    Args:
        points: (pixels, 2).
        peaks: (N, 2).
        peak_of_square: see `_find_nearest_of_squares`.

    Returns:
        (pixels,) int64.
    """
    last_row, last_column = np.subtract(peak_of_square.shape, 1)
    # fmin and fmax put an offset that is not a number into the border
    row = np.fmax(np.fmin(points[:, 0] / SQUARE + 1, last_row), 0).astype(np.int64)
    column = np.fmax(np.fmin(points[:, 1] / SQUARE + 1, last_column), 0).astype(np.int64)
    nearest: Ints = peak_of_square.ravel().take(row * peak_of_square.shape[1] + column)
    unsure = (nearest < 0).nonzero()[0]
    nearest[unsure] = _find_nearest(points[unsure], peaks)
    return nearest


def _find_nearest(points: Doubles, peaks: Ints) -> Ints:
    """Index of the peak (N, 2) that is nearest to each point (pixels, 2), in bounded memory.

    The nearest peak q of a point p has the largest p q - q q / 2. This is one matrix product,
    instead of N differences per point; float64 keeps the digits that would cancel.

    Returns:
        (pixels,) int64.
    """
    positions = peaks.astype(np.float64)
    half_square = np.square(positions).sum(axis=1) / 2  # (N,)
    chunk_size = max(1, MAX_DISTANCES // len(peaks))
    nearest = np.empty(len(points), np.int64)
    for start in range(0, len(points), chunk_size):
        chunk = points[start : start + chunk_size]
        similarity = chunk @ positions.T - half_square  # (chunk, N)
        similarity.argmax(axis=1, out=nearest[start : start + chunk_size])
    return nearest


def _bands(pixels: npt.NDArray[Any]) -> Iterator[tuple[int, int]]:
    """Bands of rows of a map (H, W): the first row, and the row after the last."""
    height, width = pixels.shape
    num_rows = max(1, MAX_PIXELS // width)
    for top in range(0, height, num_rows):
        yield top, min(top + num_rows, height)
