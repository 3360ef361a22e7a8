"""The masks of one image as runs down its columns, all in three arrays.

Many masks then cost hardly more than one: their pixels in common, and their boundaries, are found
for all of them at once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from maskmill.canonical.rle import runs_of_codes
from maskmill.canonical.runs import run_lengths, run_starts

RLE = dict[str, Any]  # size [H, W] and compressed counts (bytes)
Ints = npt.NDArray[np.int64]
BOUNDARY_SHARE = 0.02  # of the image's diagonal: how far inwards a boundary reaches


def boundary_distance(height: int, width: int) -> int:
    """How far inwards a boundary reaches, in pixels: 2 % of the diagonal, at least 1.

    Example:
        >>> boundary_distance(480, 640)
        16
    """
    return max(1, round(BOUNDARY_SHARE * float(np.hypot(height, width))))


@dataclass(frozen=True)
class MaskRuns:
    """N masks, mask by mask, each from left to right.

    Args:
        size: height and width of the image.
        start: (R,) flat position of the first pixel of each run, column by column.
        stop: (R,) the position behind its last pixel.
        num_runs: (N,) of each mask.
    """

    size: tuple[int, int]
    start: Ints
    stop: Ints
    num_runs: Ints

    @property
    def owner(self) -> Ints:
        """(R,) the mask of each run."""
        return np.repeat(np.arange(len(self.num_runs)), self.num_runs)

    @property
    def area(self) -> Ints:
        """(N,) pixels of each mask."""
        pixels = np.bincount(
            self.owner, weights=self.stop - self.start, minlength=len(self.num_runs)
        )
        return pixels.astype(np.int64)

    @classmethod
    def from_codes(cls, rles: Sequence[Any], size: tuple[int, int]) -> "MaskRuns":
        """The masks of COCO's run-length codes.

        Raises:
            ValueError: a code is not one of the whole image; the message begins with its position.
        """
        runs, num_codes = runs_of_codes(rles, size)
        edges = runs.cumsum()  # each code covers the image, so the next begins one image later
        code = np.repeat(np.arange(len(num_codes)), num_codes)
        first = np.repeat(num_codes.cumsum() - num_codes, num_codes)
        is_inside = (np.arange(len(runs)) - first) % 2 == 1
        is_inside &= runs > 0
        owner = code[is_inside]
        stop = edges[is_inside] - owner * (size[0] * size[1])
        return cls(size, stop - runs[is_inside], stop, _count(owner, len(rles)))

    @classmethod
    def from_ids(cls, ids: npt.NDArray[np.integer[Any]], wanted: Sequence[int]) -> "MaskRuns":
        """The masks of some ids of a map (H, W), all from one pass over it."""
        height, width = ids.shape
        columns = _transposed(ids).reshape(-1)  # COCO counts down the columns
        starts = run_starts(columns)
        stops = starts + run_lengths(starts, columns.size)
        id_of_run = columns[starts]
        if id_of_run.min() >= 0 and id_of_run.max() < 2**16:
            id_of_run = id_of_run.astype(np.uint16)  # NumPy sorts 16 bits by radix: 5 x as fast
        order = np.argsort(id_of_run, kind="stable")
        ordered = id_of_run[order]
        firsts = np.searchsorted(ordered, wanted)
        lasts = np.searchsorted(ordered, np.add(wanted, 1))
        return cls((height, width), starts[order], stops[order], lasts - firsts)._at(firsts)

    @classmethod
    def from_bitmaps(cls, masks: npt.NDArray[np.bool_]) -> "MaskRuns":
        """The masks of bitmaps (N, H, W)."""
        count, height, width = masks.shape
        framed = np.zeros((count, height * width + 2), np.int8)  # so that each run begins and ends
        framed[:, 1:-1] = masks.transpose(0, 2, 1).reshape(count, height * width)
        owner, edge = np.diff(framed).nonzero()
        size = (height, width)
        return cls(size, edge[::2], edge[1::2], _count(owner[::2], count))

    def _at(self, firsts: Ints) -> "MaskRuns":
        """Masks whose runs begin at the given indices."""
        behind = self.num_runs.cumsum()
        shift = np.repeat(firsts - behind + self.num_runs, self.num_runs)
        chosen = np.arange(len(shift)) + shift
        return MaskRuns(self.size, self.start[chosen], self.stop[chosen], self.num_runs)

    def take(self, indices: Ints) -> "MaskRuns":
        """The masks at the given indices, in their order."""
        firsts = self.num_runs.cumsum() - self.num_runs
        chosen = MaskRuns(self.size, self.start, self.stop, self.num_runs[indices])
        return chosen._at(firsts[indices])

    def codes(self) -> list[RLE]:
        """COCO's compressed run-length codes."""
        if not len(self.num_runs):
            return []
        height, width = self.size
        edges = np.stack([self.start, self.stop], axis=1)
        uncompressed = []
        for positions in np.split(edges, self.num_runs.cumsum()[:-1]):
            counts = np.diff(positions.reshape(-1), prepend=0, append=height * width)
            if counts[-1] == 0:
                counts = counts[:-1]
            uncompressed.append({"size": [height, width], "counts": counts})
        rles: list[RLE] = coco_mask.frPyObjects(uncompressed, height, width)
        return rles

    def layers(self) -> Iterator[tuple["MaskRuns", Ints]]:
        """Masks without a pixel in common: all of them, or each alone; with their indices."""
        indices = np.arange(len(self.num_runs))
        order = self.start.argsort()
        if (self.start[order[1:]] >= self.stop[order[:-1]]).all():
            yield self, indices
            return
        for index in indices:
            yield self.take(indices[index : index + 1]), indices[index : index + 1]


def common_pixels(pred: MaskRuns, target: MaskRuns) -> Ints:
    """The pixels that each of D masks shares with each of G masks, (D, G)."""
    num_targets = len(target.num_runs)
    pixels = np.zeros((len(pred.num_runs), num_targets), np.int64)
    pred_owner = pred.owner
    for layer, indices in target.layers():
        order = layer.start.argsort()
        start = layer.start[order]
        stop = layer.stop[order]
        first = np.searchsorted(stop, pred.start, side="right")
        count = np.searchsorted(start, pred.stop) - first  # of the runs that a run meets
        run = np.repeat(np.arange(len(count)), count)
        met = np.arange(len(run)) + np.repeat(first - count.cumsum() + count, count)
        shared = np.minimum(pred.stop[run], stop[met]) - np.maximum(pred.start[run], start[met])
        cell = pred_owner[run] * num_targets + indices[layer.owner[order[met]]]
        counted = np.bincount(cell, weights=shared, minlength=pixels.size)
        pixels += counted.astype(np.int64).reshape(pixels.shape)
    return pixels


def boundaries(masks: MaskRuns) -> MaskRuns:
    """The pixels of each mask within `boundary_distance` of its contour or of the image's edge."""
    side = 2 * boundary_distance(*masks.size) + 1
    layers = [_layer_boundaries(layer, side) for layer, _ in masks.layers()]
    return MaskRuns(
        masks.size,
        np.concatenate([layer.start for layer in layers]),
        np.concatenate([layer.stop for layer in layers]),
        np.concatenate([layer.num_runs for layer in layers]),
    )


def _layer_boundaries(layer: MaskRuns, side: int) -> MaskRuns:
    """`boundaries` of masks without a pixel in common.

    A pixel survives the erosion of its mask by a square exactly where the square holds one value
    in a map of the masks, so one minimum and one maximum filter are enough for any number of masks.
    """
    if not len(layer.start):
        return layer
    height = layer.size[0]
    left = int(layer.start.min()) // height
    width = (int(layer.stop.max()) - 1) // height + 1 - left
    if min(width, height) < side:  # no pixel is farther inside
        return layer
    index = _paint(layer, left, width)
    square = np.ones((side, side), np.uint8)
    zeros = cv2.BORDER_CONSTANT  # beyond the image's edge there is no mask
    lowest = cv2.erode(index, square, borderType=zeros, borderValue=0)
    highest = lowest
    if len(layer.num_runs) > 1:
        highest = cv2.dilate(index, square, borderType=zeros, borderValue=0)
    index[(lowest == highest) & (lowest == index)] = 0
    flat = index.reshape(-1).astype(np.int32)
    starts = run_starts(flat)
    stops = starts + run_lengths(starts, flat.size)
    value = flat[starts]
    by_mask = np.argsort(value, kind="stable")
    by_mask = by_mask[np.count_nonzero(value == 0) :]
    owner = value[by_mask] - 1
    first = left * height
    num_runs = _count(owner, len(layer.num_runs))
    return MaskRuns(layer.size, starts[by_mask] + first, stops[by_mask] + first, num_runs)


def _paint(layer: MaskRuns, left: int, width: int) -> npt.NDArray[Any]:
    """The index of the mask, from 1, of each pixel of some columns; 0 outside the masks.

    Args:
        layer: masks without a pixel in common.
        left: the first column.
        width: number of columns.

    Returns:
        (width, H), of a type that OpenCV filters.
    """
    height = layer.size[0]
    num_masks = len(layer.num_runs)
    dtype: Any = np.min_scalar_type(num_masks)
    if dtype.itemsize > 2:
        dtype = np.float32  # exact up to 2**24; OpenCV has no filters of larger integers
    order = layer.start.argsort()
    edges = np.stack([layer.start[order], layer.stop[order]], axis=1).reshape(-1) - left * height
    values = np.zeros(len(edges) + 1, dtype)
    values[1::2] = layer.owner[order] + 1
    lengths = np.diff(edges, prepend=0, append=width * height)
    return np.repeat(values, lengths).reshape(width, height)


def _transposed(ids: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.integer[Any]]:
    """(W, H), contiguous."""
    if ids.dtype == np.int32:  # of a `Panoptic`; OpenCV takes a fifth of NumPy's time
        return cv2.transpose(ids).astype(np.int32, copy=False)
    return np.ascontiguousarray(ids.T)


def _count(owner: npt.NDArray[np.integer[Any]], num_masks: int) -> Ints:
    return np.bincount(owner, minlength=num_masks).astype(np.int64)
