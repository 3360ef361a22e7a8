"""Grouping of Panoptic-DeepLab: pixels to centres, centres to instances.

Cheng et al., CVPR 2020 (arXiv:1911.10194), sec. 3.3.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated

import torch
from annotated_types import Ge, Interval
from torch import Tensor
from torch.nn import functional as F

from maskmill.canonical.categories import Categories
from maskmill.postprocess.outputs import PanopticDeepLabOutputs
from maskmill.postprocess.prediction import Prediction, Size
from maskmill.postprocess.semantic import ClassTable, SegmentMap, classify_pixels, sum_per_class

# Pixels processed at a time, 1024 x 2048. Each needs about 100 bytes, so larger images are split
# into bands of rows.
MAX_PIXELS = 2**21
# Distances from pixels to centres in memory at a time: 8 MiB, which fit into caches. 2**24 is four
# times slower.
MAX_DISTANCES = 2**20


class PanopticGrouping:
    """Assigns each thing pixel to the centre that it points at.

    An instance has the class of most of its pixels.

    Args:
        threshold: minimum height of a centre in the heatmap; 0.1 in the paper.
        nms_kernel: side in px of the window in which a centre must be the highest, odd; 7 in the
            paper.
        top_k: maximum number of centres per image; 200 in the paper.
        min_area_px: smaller instances become void.
        stuff_area_px: smaller stuff segments become void; 2048 in the paper for 1024 x 2048 px.
        keep_stuff: False keeps things only, for instance segmentation.
        categories: of the data set.

    Raises:
        ValueError: `nms_kernel` is even.

    Example:
        >>> from maskmill.canonical.categories import Category
        >>> cell = Categories([Category(5, "cell", True, (220, 90, 20))])  # and background
        >>> limits = {"top_k": 200, "min_area_px": 0, "stuff_area_px": 0}
        >>> grouping = PanopticGrouping(threshold=0.1, nms_kernel=3, **limits, categories=cell)
        >>> semantic = torch.tensor([[[[4.0, 4, 0, 4, 4]], [[0.0, 0, 4, 0, 0]]]])  # (1, 2, 1, 5)
        >>> center = torch.tensor([[[[0.9, 0, 0, 0, 0.8]]]])  # (1, 1, 1, 5)
        >>> outputs = {"semantic": semantic, "center": center, "offset": torch.zeros(1, 2, 1, 5)}
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
        self.table = ClassTable(categories)

    @torch.inference_mode()
    def __call__(self, outputs: PanopticDeepLabOutputs, sizes: Sequence[Size]) -> list[Prediction]:
        """One prediction per image.

        Args:
            outputs: for a batch.
            sizes: of the images, which may be padded at the right and bottom.
        """
        classes, confidence = classify_pixels(outputs)  # (B, H, W) each
        center = outputs["center"].float()  # (B, 1, H, W)
        offset = outputs["offset"].float()  # (B, 2, H, W)
        predictions = []
        for image_classes, image_confidence, image_center, image_offset, (height, width) in zip(
            classes, confidence, center, offset, sizes, strict=True
        ):
            prediction = self._predict(
                image_classes[:height, :width],
                image_confidence[:height, :width],
                image_center[0, :height, :width],
                image_offset[:, :height, :width],
            )
            predictions.append(prediction)
        return predictions

    def _predict(
        self, classes: Tensor, confidence: Tensor, center: Tensor, offset: Tensor
    ) -> Prediction:
        segments = self.group(classes, confidence, center, offset)
        if self.keep_stuff:
            segments = self._add_stuff(segments, classes, confidence)
        return Prediction(self.table.category_map(classes), self.table.panoptic(segments))

    def group(
        self, classes: Tensor, confidence: Tensor, center: Tensor, offset: Tensor
    ) -> SegmentMap:
        """Thing instances of one image.

        Args:
            classes: (H, W) class indices.
            confidence: (H, W), the probability of the class.
            center: (H, W) heatmap.
            offset: (2, H, W), (dy, dx) in px.
        """
        device = classes.device
        num_classes = len(self.table.is_thing)
        is_thing = self.table.is_thing.to(device)
        peaks, heights = self._find_peaks(center)  # (N, 2), (N,)
        num_peaks = len(peaks)
        ids = torch.zeros(classes.shape, dtype=torch.int32, device=device)  # (H, W), peak + 1
        if num_peaks == 0:
            no_classes = ids.new_zeros(0, dtype=torch.int64)
            no_scores = confidence.new_zeros(0, dtype=torch.float64)
            return SegmentMap(ids, no_classes, no_scores)
        votes = torch.zeros(num_peaks, num_classes, dtype=torch.int64, device=device)  # (N, K)
        total_confidence = torch.zeros(num_peaks, dtype=torch.float64, device=device)  # (N,)
        for top, bottom in _bands(classes):
            rows = classes[top:bottom].long()
            thing_pixels = is_thing[rows].nonzero()  # (pixels, 2)
            y = thing_pixels[:, 0] + top
            x = thing_pixels[:, 1]
            points = torch.stack([y, x], dim=1) + offset[:, y, x].T  # (pixels, 2)
            peak = _find_nearest(points, peaks)  # (pixels,)
            pairs = peak * num_classes + classes[y, x]
            votes += torch.bincount(pairs, minlength=votes.numel()).view_as(votes)
            pixel_confidence = confidence[y, x].double()
            total_confidence += torch.bincount(peak, pixel_confidence, minlength=num_peaks)
            ids[y, x] = (peak + 1).int()
        area = votes.sum(dim=1)  # (N,)
        kept = (area >= self.min_area_px).nonzero().squeeze(1)
        new_ids = torch.arange(1, len(kept) + 1, dtype=torch.int32, device=device)
        id_of_peak = torch.zeros(num_peaks + 1, dtype=torch.int32, device=device)  # by peak + 1
        id_of_peak[kept + 1] = new_ids
        for top, bottom in _bands(ids):
            ids[top:bottom] = id_of_peak[ids[top:bottom].long()]
        scores = total_confidence / area.clamp(min=1) * heights  # (N,)
        return SegmentMap(ids, votes.argmax(dim=1)[kept], scores[kept])

    def _find_peaks(self, center: Tensor) -> tuple[Tensor, Tensor]:
        """Peaks of the heatmap (H, W), the highest first: positions (N, 2) in px, heights (N,)."""
        bands = [self._find_peaks_in_rows(center, top, bottom) for top, bottom in _bands(center)]
        positions = torch.cat(bands)  # (N, 2)
        heights = center[positions[:, 0], positions[:, 1]]
        order = heights.sort(descending=True, stable=True).indices[: self.top_k]
        return positions[order], heights[order].clamp(max=1).double()

    def _find_peaks_in_rows(self, center: Tensor, top: int, bottom: int) -> Tensor:
        """Positions (N, 2) of the peaks in some rows.

        Neighbouring pixels can have the same height, above all after rounding to bfloat16. Two
        centres would split the instance, so the first pixel is the peak.
        """
        # Half a window around a row decides whether it contains a peak. Another half decides
        # whether that peak is the first among equals.
        first_row = max(0, top - self.nms_kernel + 1)
        rows = center[first_row : bottom + self.nms_kernel - 1]
        is_highest = (rows == self._max_in_window(rows)) & (rows > self.threshold)
        order = torch.arange(rows.numel(), 0, -1, dtype=torch.float64, device=center.device)
        order = order.view_as(rows) * is_highest  # larger for earlier pixels, 0 elsewhere
        is_peak = is_highest & (order == self._max_in_window(order))
        positions = is_peak[top - first_row : bottom - first_row].nonzero()
        return positions + positions.new_tensor([top, 0])

    def _max_in_window(self, values: Tensor) -> Tensor:
        """The maximum of the window around each pixel of a map (H, W)."""
        padding = self.nms_kernel // 2
        return F.max_pool2d(values[None], self.nms_kernel, stride=1, padding=padding)[0]

    def _add_stuff(self, things: SegmentMap, classes: Tensor, confidence: Tensor) -> SegmentMap:
        """Add a segment for every stuff class that is large enough; their ids follow the things."""
        is_thing = self.table.is_thing.to(classes.device)
        area, total_confidence = sum_per_class(classes, confidence, len(is_thing))  # (K,)
        is_kept = (area >= self.stuff_area_px) & ~is_thing
        is_kept[len(self.table.categories) :] = False  # background is not a segment
        rank = is_kept.cumsum(dim=0)
        id_of_class = ((rank + len(things.classes)) * is_kept).int()  # (K,), 0 if not kept
        ids = things.ids.clone()
        for top, bottom in _bands(classes):
            rows = classes[top:bottom].long()
            ids[top:bottom] = torch.where(is_thing[rows], ids[top:bottom], id_of_class[rows])
        kept = is_kept.nonzero().squeeze(1)
        scores = (total_confidence / area.clamp(min=1))[kept]
        return SegmentMap(
            ids, torch.cat([things.classes, kept]), torch.cat([things.scores, scores])
        )


def _find_nearest(points: Tensor, peaks: Tensor) -> Tensor:
    """Index of the peak (N, 2) that is nearest to each point (pixels, 2), in bounded memory.

    The nearest peak q of a point p has the largest p q - q q / 2. This is one matrix product,
    instead of N differences per point; float64 keeps the digits that would cancel.

    Returns:
        (pixels,) int64.
    """
    points = points.double()
    peaks = peaks.double()
    half_square = peaks.square().sum(dim=1) / 2  # (N,)
    chunk_size = max(1, MAX_DISTANCES // len(peaks))
    chunk_size = min(chunk_size, max(1, len(points)))
    # One buffer for all chunks: results stored between buffers of 8 MiB fragmented the heap, which
    # grew to gigabytes.
    similarity = points.new_empty(chunk_size, len(peaks))
    nearest = torch.empty(len(points), dtype=torch.int64, device=points.device)
    for start in range(0, len(points), chunk_size):
        chunk = points[start : start + chunk_size]
        chunk_similarity = similarity[: len(chunk)]
        torch.addmm(-half_square, chunk, peaks.T, out=chunk_similarity)
        torch.argmax(chunk_similarity, dim=1, out=nearest[start : start + chunk_size])
    return nearest


def _bands(pixels: Tensor) -> Iterator[tuple[int, int]]:
    """Bands of rows of a map (H, W): the first row, and the row after the last."""
    height, width = pixels.shape
    num_rows = max(1, MAX_PIXELS // width)
    for top in range(0, height, num_rows):
        yield top, min(top + num_rows, height)
