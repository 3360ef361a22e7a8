"""Masks as run-length codes of COCO: made from id maps, compared with each other."""

from collections.abc import Mapping, Sequence
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
        columns = self.category_id[places], self.area[places], self.iscrowd[places], self.score[places]
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
        things = [segment for segment in panoptic.segments if categories[segment.category_id].isthing]
        return cls(
            segment_rles(panoptic.ids, [segment.id for segment in things]),
            np.array([segment.category_id for segment in things], np.int64),
            np.array([segment.area for segment in things], np.float64),
            np.array([segment.iscrowd for segment in things], bool),
            np.array([1.0 if segment.score is None else segment.score for segment in things], np.float64),
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
    uncompressed = []
    for first, last in bounds.T.tolist():
        runs = order[first:last]
        uncompressed.append({"size": [height, width], "counts": _counts(starts[runs], lengths[runs], columns.size)})
    rles: list[RLE] = coco_mask.frPyObjects(uncompressed, height, width)
    return rles


def _counts(starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], size: int) -> list[int]:
    """Alternating lengths of outside and inside, from the runs inside."""
    edges = np.stack([starts, starts + lengths], axis=1).reshape(-1)
    counts: list[int] = np.diff(edges, prepend=0, append=size).tolist()
    return counts if counts[-1] else counts[:-1]


def mask_iou(pred: Masks, target: Masks, *, boundary: bool = False) -> Floats:
    """IoU of every predicted with every true mask of its category, (D, G), 0 for other categories; of a crowd: the share of the prediction.

    Args:
        pred: D masks.
        target: G masks of the same image.
        boundary: the smaller of the IoU of the masks and that of their boundaries (Cheng et al., CVPR 2021, arXiv:2103.16562, eq. 2 and
            sec. 5.1).
    """
    iou = np.zeros((len(pred.rles), len(target.rles)))
    for category_id in set(pred.category_id.tolist()) & set(target.category_id.tolist()):
        rows, columns = (np.flatnonzero(side.category_id == category_id) for side in (pred, target))
        guesses, truths = pred.take(rows), target.take(columns)
        block = _iou(guesses.rles, truths)
        if boundary:
            edges = replace(truths, rles=[boundary_rle(rle) for rle in truths.rles])
            block = np.minimum(block, _iou([boundary_rle(rle) for rle in guesses.rles], edges))
        iou[np.ix_(rows, columns)] = block
    return iou


def _iou(pred: list[RLE], target: Masks) -> Floats:
    iou: Floats = coco_mask.iou(pred, target.rles, target.iscrowd.astype(np.uint8).tolist())
    return iou


def boundary_distance(height: int, width: int) -> int:
    """How far inwards a boundary reaches, in pixels: 2 % of the diagonal, at least 1."""
    return max(1, round(BOUNDARY_SHARE * float(np.hypot(height, width))))


def boundary_rle(rle: RLE) -> RLE:
    """The pixels of a mask that lie within `boundary_distance` of its contour; the image's edge is one."""
    height, width = rle["size"]
    distance = boundary_distance(height, width)
    x, y, w, h = (int(value) for value in coco_mask.toBbox(rle))
    mask = coco_mask.decode(rle)  # (H, W) uint8
    window = mask[y : y + h, x : x + w]
    square = np.ones((2 * distance + 1,) * 2, np.uint8)
    window -= cv2.erode(window, square, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    encoded: RLE = coco_mask.encode(mask)
    return encoded
