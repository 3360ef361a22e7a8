"""The objects of one image: their masks with categories and scores, and the IoU of two sets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.metrics.functional.mask_runs import MaskRuns, boundaries, common_pixels

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
MATCHABLE_IOU = 0.5  # the lowest of COCO's thresholds


@dataclass(frozen=True)
class Masks:
    """The objects of one image as columns (N,), in the order that decides between equal scores.

    Args:
        runs: their pixels.
        category_id: (N,).
        area: (N,) pixels, or the area that the annotation states.
        iscrowd: (N,).
        score: (N,), 1 for objects without one.
    """

    runs: MaskRuns
    category_id: Ints
    area: Floats
    iscrowd: Bools
    score: Floats

    def take(self, indices: Ints) -> "Masks":
        """The objects at the given indices, in their order."""
        return Masks(
            runs=self.runs.take(indices),
            category_id=self.category_id[indices],
            area=self.area[indices],
            iscrowd=self.iscrowd[indices],
            score=self.score[indices],
        )

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> "Masks":
        """The objects of COCO annotations or results.

        Args:
            rows: category_id, segmentation (RLE); area, iscrowd and score are optional.
            size: height and width of the image.

        Raises:
            ValueError: a code does not cover the image exactly; the message begins with the
                position of its row.
        """
        runs = MaskRuns.from_codes([row["segmentation"] for row in rows], size)
        areas = [row.get("area") for row in rows]
        return cls(
            runs=runs,
            category_id=np.array([row["category_id"] for row in rows], np.int64),
            area=np.array(runs.area if None in areas else areas, np.float64),
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
            runs=MaskRuns.from_ids(panoptic.ids, segment_ids),
            category_id=np.array(category_ids, np.int64),
            area=np.array(areas, np.float64),
            iscrowd=np.array(crowds, bool),
            score=np.array(scores, np.float64),
        )


@dataclass(frozen=True)
class MaskPairs:
    """Predicted and target objects of one image.

    Args:
        pred: D objects.
        target: G objects.
    """

    pred: Masks
    target: Masks

    @cached_property
    def iou(self) -> Floats:
        """IoU of every predicted with every target mask of its category, (D, G).

        It is 0 for pairs of two categories; for a crowd it is the fraction of the prediction that
        lies on it.
        """
        return self._iou(self.pred, self.target, self.pred.runs, self.target.runs)

    @cached_property
    def boundary_iou(self) -> Floats:
        """The smaller of `iou` and the same of the boundaries, where `iou` is at least 0.5.

        Cheng et al., CVPR 2021, arXiv:2103.16562, eq. 2 and sec. 5.1. No pair below 0.5 matches
        anyway.
        """
        near = self.iou >= MATCHABLE_IOU
        rows = np.flatnonzero(near.any(axis=1))
        columns = np.flatnonzero(near.any(axis=0))
        pred = self.pred.take(rows)
        target = self.target.take(columns)
        boundary_iou = self.iou.copy()
        boundary_iou[np.ix_(rows, columns)] = self._iou(
            pred, target, boundaries(pred.runs), boundaries(target.runs)
        )
        return np.where(near, np.minimum(self.iou, boundary_iou), self.iou)

    @staticmethod
    def _iou(pred: Masks, target: Masks, pred_runs: MaskRuns, target_runs: MaskRuns) -> Floats:
        """The IoU of some pixels of the objects."""
        common = common_pixels(pred_runs, target_runs)
        common[pred.category_id[:, None] != target.category_id] = 0
        pred_area = pred_runs.area[:, None]
        union = np.where(target.iscrowd, pred_area, pred_area + target_runs.area - common)
        iou: Floats = common / np.maximum(union, 1)
        return iou
