"""Masks as run-length codes of COCO: made from id maps, compared with each other."""

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
MATCHABLE_IOU = 0.5  # the lowest of COCO's thresholds
BOUNDARY_SHARE = 0.02  # of the image's diagonal: how far inwards a boundary reaches


@dataclass(frozen=True)
class Masks:
    """The objects of one image as columns (N,), in the order that decides among equals."""

    rles: list[RLE]
    category_id: npt.NDArray[np.int64]
    area: Floats  # pixels, or what the annotation says
    iscrowd: npt.NDArray[np.bool_]
    score: Floats  # 1 where there is none

    def take(self, places: npt.NDArray[np.int64]) -> "Masks":
        """Some of them, in another order perhaps."""
        columns = (
            self.category_id[places],
            self.area[places],
            self.iscrowd[places],
            self.score[places],
        )
        return Masks([self.rles[place] for place in places.tolist()], *columns)

    @classmethod
    def of_rows(cls, rows: Sequence[Mapping[str, Any]]) -> "Masks":
        """Of COCO annotations or results: category_id, segmentation (RLE), and area, iscrowd and score where there are any."""
        rles = [row["segmentation"] for row in rows]
        given = [row.get("area") for row in rows]
        areas = coco_mask.area(rles) if None in given else given
        return cls(
            rles,
            np.array([row["category_id"] for row in rows], np.int64),
            np.array(areas, np.float64),
            np.array([row.get("iscrowd", 0) for row in rows], bool),
            np.array([row.get("score", 1.0) for row in rows], np.float64),
        )

    @classmethod
    def of_things(cls, panoptic: Panoptic, categories: Categories) -> "Masks":
        """The things of an id map."""
        things = [
            segment for segment in panoptic.segments if categories[segment.category_id].isthing
        ]
        return cls(
            segment_rles(panoptic.ids, [segment.id for segment in things]),
            np.array([segment.category_id for segment in things], np.int64),
            np.array([segment.area for segment in things], np.float64),
            np.array([segment.iscrowd for segment in things], bool),
            np.array(
                [1.0 if segment.score is None else segment.score for segment in things], np.float64
            ),
        )


def segment_rles(ids: npt.NDArray[np.integer[Any]], wanted: Sequence[int]) -> list[RLE]:
    """The masks of some ids of a map (H, W), all from one pass over it."""
    if not len(wanted):
        return []
    height, width = ids.shape
    columns = np.ascontiguousarray(ids.T).reshape(-1)  # COCO counts down the columns
    starts = run_starts(columns)
    lengths, values = run_lengths(starts, columns.size), columns[starts]
    order = np.argsort(values, kind="stable")
    bounds = np.searchsorted(values[order], np.array([wanted, np.add(wanted, 1)]))
    ends = np.stack([starts, starts + lengths], axis=1)[order]
    return _compressed(
        [ends[first:last].reshape(-1) for first, last in bounds.T.tolist()], height, width
    )


def _compressed(edges: Iterable[npt.NDArray[np.int64]], height: int, width: int) -> list[RLE]:
    """Codes of masks, each given by where, down the columns, it begins and ends in turns."""
    uncompressed = []
    for places in edges:
        counts = np.diff(places, prepend=0, append=height * width).tolist()
        uncompressed.append(
            {"size": [height, width], "counts": counts if counts[-1] else counts[:-1]}
        )
    rles: list[RLE] = coco_mask.frPyObjects(uncompressed, height, width)
    return rles


def mask_iou(pred: Masks, target: Masks, *, boundary: bool = False) -> Floats:
    """IoU of every predicted with every true mask of its category, (D, G), 0 for other categories; of a crowd: the share of the prediction.

    Args:
        pred: D masks.
        target: G masks of the same image.
        boundary: the smaller of the IoU of the masks and that of their boundaries (Cheng et al., CVPR 2021, arXiv:2103.16562, eq. 2 and
            sec. 5.1), where the former is at least 0.5: below it no pair matches anyway.
    """
    iou = np.zeros((len(pred.rles), len(target.rles)))
    for category_id in set(pred.category_id.tolist()) & set(target.category_id.tolist()):
        rows, columns = (np.flatnonzero(side.category_id == category_id) for side in (pred, target))
        guesses, truths = pred.take(rows), target.take(columns)
        block = _iou(guesses.rles, truths)
        if boundary:
            block = _with_boundaries(block, guesses, truths)
        iou[np.ix_(rows, columns)] = block
    return iou


def _iou(pred: list[RLE], target: Masks) -> Floats:
    iou: Floats = coco_mask.iou(pred, target.rles, target.iscrowd.astype(np.uint8).tolist())
    return iou


def _with_boundaries(iou: Floats, pred: Masks, target: Masks) -> Floats:
    near = iou >= MATCHABLE_IOU
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    guesses, truths = pred.take(rows), target.take(columns)
    edges = replace(truths, rles=[boundary_rle(rle) for rle in truths.rles])
    smaller = iou.copy()
    smaller[np.ix_(rows, columns)] = (
        _iou([boundary_rle(rle) for rle in guesses.rles], edges) if len(rows) else 0.0
    )
    return np.where(near, np.minimum(iou, smaller), iou)


def boundary_distance(height: int, width: int) -> int:
    """How far inwards a boundary reaches, in pixels: 2 % of the diagonal, at least 1."""
    return max(1, round(BOUNDARY_SHARE * float(np.hypot(height, width))))


def boundary_rle(rle: RLE) -> RLE:
    """The pixels of a mask that lie within `boundary_distance` of its contour; the image's edge is one."""
    height, width = rle["size"]
    x, y, w, h = (int(value) for value in coco_mask.toBbox(rle))
    if not w * h:
        return rle
    # Only the box is decoded, column by column: beyond it there is no mask. A run that goes on in the next column fills both ends of one,
    # so then the box is as high as the image.
    edges = _edges(rle)
    edges[1::2] -= 1  # the last pixel of a run lies in the box, the one behind it need not
    column, row = np.divmod(edges, height)
    places = (column - x) * h + row - y
    change = np.zeros(w * h + 1, np.int8)
    np.add.at(change, places[::2], 1)  # anyone's code may have runs of no pixel
    np.subtract.at(change, places[1::2] + 1, 1)
    window = change[:-1].cumsum(dtype=np.int8).view(np.uint8).reshape(w, h)
    square = np.ones((2 * boundary_distance(height, width) + 1,) * 2, np.uint8)
    inside = np.zeros((w, h + 1), bool)  # a run ends with its column
    inside[:, :-1] = window != cv2.erode(
        window, square, borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    column, row = np.divmod(np.flatnonzero(np.diff(inside.reshape(-1), prepend=False)), h + 1)
    edges = (x + column) * height + y + row
    meets = np.append(
        edges[1:] == edges[:-1], False
    )  # a run from the lowest row goes on in the top one
    meets[1:] |= meets[:-1]
    return _compressed([edges[~meets]], height, width)[0]


def _edges(rle: RLE) -> npt.NDArray[np.int64]:
    """Where, down the columns, a mask begins and ends in turns: the inverse of `_compressed`.

    Five bits a character, the sixth says that the number goes on, the fifth of its last is its sign; from the fourth number on the code
    holds differences to the last but one (rleToString in COCO's maskApi.c).
    """
    text = rle["counts"]
    codes = (
        np.frombuffer(text.encode() if isinstance(text, str) else text, np.uint8).astype(np.int64)
        - 48
    )
    last = np.flatnonzero(codes & 32 == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    digit = np.arange(len(codes)) - np.repeat(first, last - first + 1)
    counts = np.add.reduceat((codes & 31) << (5 * digit), first)
    counts -= ((codes[last] & 16) > 0).astype(np.int64) << (5 * (digit[last] + 1))
    counts[1::2], counts[2::2] = counts[1::2].cumsum(), counts[2::2].cumsum()
    edges = counts.cumsum()
    return (
        edges if len(edges) % 2 == 0 else edges[:-1]
    )  # a code that ends outside ends with the image
