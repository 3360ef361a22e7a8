"""Masks as COCO's run-length codes: made from id maps, compared with each other."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.runs import run_lengths, run_starts

RLE = dict[str, Any]  # size [H, W] and compressed counts (bytes)
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
MATCHABLE_IOU = 0.5  # the lowest of COCO's thresholds
BOUNDARY_SHARE = 0.02  # of the image's diagonal: how far inwards a boundary reaches


@dataclass(frozen=True)
class Masks:
    """The objects of one image as columns (N,), in the order that decides between equal scores.

    Args:
        rles: run-length codes.
        category_id: (N,).
        area: (N,) pixels, or the area that the annotation states.
        iscrowd: (N,).
        score: (N,), 1 for objects without one.
    """

    rles: list[RLE]
    category_id: Ints
    area: Floats
    iscrowd: npt.NDArray[np.bool_]
    score: Floats

    def take(self, indices: Ints) -> "Masks":
        """The objects at the given indices, in their order."""
        return Masks(
            rles=[self.rles[index] for index in indices.tolist()],
            category_id=self.category_id[indices],
            area=self.area[indices],
            iscrowd=self.iscrowd[indices],
            score=self.score[indices],
        )

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, Any]]) -> "Masks":
        """The objects of COCO annotations or results.

        Args:
            rows: category_id, segmentation (RLE); area, iscrowd and score are optional.
        """
        rles = [row["segmentation"] for row in rows]
        areas = [row.get("area") for row in rows]
        if None in areas:
            areas = coco_mask.area(rles)
        return cls(
            rles=rles,
            category_id=np.array([row["category_id"] for row in rows], np.int64),
            area=np.array(areas, np.float64),
            iscrowd=np.array([row.get("iscrowd", 0) for row in rows], bool),
            score=np.array([row.get("score", 1.0) for row in rows], np.float64),
        )

    @classmethod
    def from_things(cls, panoptic: Panoptic, categories: Categories) -> "Masks":
        """The things of an id map; those without a score get 1.

        Raises:
            ValueError: a segment has a category that is not in the table.
        """
        categories.require_known(panoptic.category_of.values())
        segment_ids = []
        category_ids = []
        areas = []
        crowds = []
        scores = []
        for segment in panoptic.segments:
            if categories[segment.category_id].isthing:
                segment_ids.append(segment.id)
                category_ids.append(segment.category_id)
                areas.append(segment.area)
                crowds.append(segment.iscrowd)
                scores.append(1.0 if segment.score is None else segment.score)
        return cls(
            rles=segment_rles(panoptic.ids, segment_ids),
            category_id=np.array(category_ids, np.int64),
            area=np.array(areas, np.float64),
            iscrowd=np.array(crowds, bool),
            score=np.array(scores, np.float64),
        )


def segment_rles(ids: npt.NDArray[np.integer[Any]], wanted: Sequence[int]) -> list[RLE]:
    """The masks of some ids of a map (H, W), all from one pass over it."""
    if not len(wanted):
        return []
    height, width = ids.shape
    columns = np.ascontiguousarray(ids.T).reshape(-1)  # COCO counts down the columns
    starts = run_starts(columns)
    ends = starts + run_lengths(starts, columns.size)
    id_of_run = columns[starts]
    by_id = np.argsort(id_of_run, kind="stable")
    edges = np.stack([starts, ends], axis=1)[by_id]  # (R, 2)
    firsts = np.searchsorted(id_of_run[by_id], wanted)
    lasts = np.searchsorted(id_of_run[by_id], np.add(wanted, 1))
    edges_by_id = []
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        edges_by_id.append(edges[first:last].reshape(-1))
    return _compressed(edges_by_id, height, width)


def _compressed(edges: Iterable[Ints], height: int, width: int) -> list[RLE]:
    """The codes of masks, each given by where it begins, ends, begins, ... down the columns."""
    uncompressed = []
    for positions in edges:
        counts = np.diff(positions, prepend=0, append=height * width).tolist()
        if counts[-1] == 0:
            counts = counts[:-1]
        uncompressed.append({"size": [height, width], "counts": counts})
    rles: list[RLE] = coco_mask.frPyObjects(uncompressed, height, width)
    return rles


def mask_iou(pred: Masks, target: Masks, *, boundary: bool = False) -> Floats:
    """IoU of every predicted with every target mask of its category.

    Args:
        pred: D masks.
        target: G masks of the same image.
        boundary: the smaller of the IoU of the masks and that of their boundaries (Cheng et al.,
            CVPR 2021, arXiv:2103.16562, eq. 2 and sec. 5.1), where the former is at least 0.5:
            below it no pair matches anyway.

    Returns:
        (D, G), 0 for pairs of two categories; for a crowd the fraction of the prediction that
        lies on it.
    """
    iou = np.zeros((len(pred.rles), len(target.rles)))
    common = set(pred.category_id.tolist()) & set(target.category_id.tolist())
    for category_id in common:
        rows = np.flatnonzero(pred.category_id == category_id)
        columns = np.flatnonzero(target.category_id == category_id)
        pred_of_class = pred.take(rows)
        target_of_class = target.take(columns)
        block = _iou(pred_of_class.rles, target_of_class)
        if boundary:
            block = _with_boundaries(block, pred_of_class, target_of_class)
        iou[np.ix_(rows, columns)] = block
    return iou


def _iou(pred: list[RLE], target: Masks) -> Floats:
    iou: Floats = coco_mask.iou(pred, target.rles, target.iscrowd.astype(np.uint8).tolist())
    return iou


def _with_boundaries(iou: Floats, pred: Masks, target: Masks) -> Floats:
    near = iou >= MATCHABLE_IOU
    if not near.any():
        return iou
    rows = np.flatnonzero(near.any(axis=1))
    columns = np.flatnonzero(near.any(axis=0))
    near_target = target.take(columns)
    pred_edges = [boundary_rle(rle) for rle in pred.take(rows).rles]
    target_edges = [boundary_rle(rle) for rle in near_target.rles]
    boundary_iou = iou.copy()
    boundary_iou[np.ix_(rows, columns)] = _iou(pred_edges, replace(near_target, rles=target_edges))
    return np.where(near, np.minimum(iou, boundary_iou), iou)


def boundary_distance(height: int, width: int) -> int:
    """How far inwards a boundary reaches, in pixels: 2 % of the diagonal, at least 1.

    Example:
        >>> boundary_distance(480, 640)
        16
    """
    return max(1, round(BOUNDARY_SHARE * float(np.hypot(height, width))))


def boundary_rle(rle: RLE) -> RLE:
    """The pixels of a mask within `boundary_distance` of its contour or of the image's edge."""
    height, width = rle["size"]
    x, y, box_width, box_height = map(int, coco_mask.toBbox(rle))
    side = 2 * boundary_distance(height, width) + 1
    if min(box_width, box_height) < side:  # no pixel of it is farther inside; or it has none
        return rle
    # Only the box is decoded, column by column: there is no mask beyond it. A run that continues
    # in the next column reaches both ends of a column, so then the box is as high as the image.
    edges = _edges(rle)
    edges[1::2] -= 1  # the last pixel of a run lies in the box, the one behind it may not
    column, row = np.divmod(edges, height)
    positions = (column - x) * box_height + row - y
    change = np.zeros(box_width * box_height + 1, np.int8)
    np.add.at(change, positions[::2], 1)  # a code from elsewhere may have empty runs
    np.subtract.at(change, positions[1::2] + 1, 1)
    mask = change[:-1].cumsum(dtype=np.int8).view(np.uint8).reshape(box_width, box_height)
    square = np.ones((side, side), np.uint8)
    eroded = cv2.erode(mask, square, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    boundary = np.zeros((box_width, box_height + 1), bool)  # so that a run ends with its column
    boundary[:, :-1] = mask != eroded
    changes = np.flatnonzero(np.diff(boundary.reshape(-1), prepend=False))
    column, row = np.divmod(changes, box_height + 1)
    edges = (x + column) * height + y + row
    # A run that ends in the lowest row and one that begins in the top row behind it are one.
    joined = np.append(edges[1:] == edges[:-1], False)
    joined[1:] |= joined[:-1]
    return _compressed([edges[~joined]], height, width)[0]


def _edges(rle: RLE) -> Ints:
    """Where a mask begins, ends, begins, ... down the columns: the inverse of `_compressed`.

    Each character has five bits of a number; the sixth says that the number continues, the fifth of
    its last character is its sign. From the fourth number on, the code contains differences to
    the last but one (rleToString in COCO's maskApi.c).
    """
    text = rle["counts"]
    encoded = text.encode() if isinstance(text, str) else text
    codes = np.frombuffer(encoded, np.uint8).astype(np.int64) - 48
    last = np.flatnonzero(codes & 32 == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    digit = np.arange(len(codes)) - np.repeat(first, last - first + 1)
    counts = np.add.reduceat((codes & 31) << (5 * digit), first)
    is_negative = ((codes[last] & 16) > 0).astype(np.int64)
    counts -= is_negative << (5 * (digit[last] + 1))
    counts[1::2] = counts[1::2].cumsum()
    counts[2::2] = counts[2::2].cumsum()
    edges = counts.cumsum()
    # An odd number of counts ends with a run outside the mask, which ends with the image.
    return edges if len(edges) % 2 == 0 else edges[:-1]
