"""What one image adds to the scores: a few numbers per segment and class, no pixels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import Categories
from maskmill.canonical.folder import ImageRecord
from maskmill.canonical.panoptic import VOID_ID, ListedPanoptic
from maskmill.canonical.runs import Overlaps, overlaps_of_runs, run_lengths, run_starts
from maskmill.evaluation.metric_families import ALL_FAMILIES, Family
from maskmill.metrics.functional.boundary_iou import boundary_areas
from maskmill.metrics.functional.confusion_matrix import (
    Labels,
    class_indices_with_void,
    class_map,
    confusion_matrix,
    confusion_of_overlaps,
)
from maskmill.metrics.functional.mask_ap import Row, masks_of_results
from maskmill.metrics.functional.mask_matching import ImageMatching, MaskMatches
from maskmill.metrics.functional.masks import Masks
from maskmill.metrics.functional.panoptic_quality import Counts, count_matches
from maskmill.metrics.functional.segment_matching import (
    Matches,
    Segmented,
    class_indices,
    match_overlaps,
    require_same_size,
)

Ints = npt.NDArray[np.int64]
ClassMap = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class PixelPairs:
    """The entries of a confusion matrix that are not 0, as columns (P,).

    Args:
        target: class indices 0..K.
        pred: class indices 0..K.
        pixels: their number.
    """

    target: Ints
    pred: Ints
    pixels: Ints

    @classmethod
    def from_matrix(cls, matrix: Ints) -> "PixelPairs":
        """The entries of a matrix (K + 1, K + 1)."""
        target, pred = np.nonzero(matrix)
        return cls(target, pred, matrix[target, pred])

    def add_to(self, matrix: Ints) -> None:
        """Add the pixels to a matrix (K + 1, K + 1)."""
        np.add.at(matrix, (self.target, self.pred), self.pixels)


@dataclass(frozen=True)
class BoundaryAreas:
    """Boundary pixels of the classes that have any, as columns (P,).

    Args:
        index: class indices 0..K-1.
        intersection: of prediction and target.
        union: of prediction and target.
    """

    index: Ints
    intersection: Ints
    union: Ints

    @classmethod
    def from_table(cls, areas: Ints) -> "BoundaryAreas":
        """The rows of a table (K, 2) of intersection and union that are not 0."""
        index = np.flatnonzero(areas.any(axis=1))
        intersection, union = areas[index].T
        return cls(index, intersection, union)


@dataclass(frozen=True)
class ImageScores:
    """What one image adds; small, so that thousands of images fit into memory.

    Args:
        record: the image.
        num_classes: K.
        matches: the outcome of each segment.
        pairs: its confusion matrix.
        boundary: its class boundaries.
        masks: what it adds to AP; None without instances.json.
        mask_boundaries: what it adds to boundary AP; None without instances.json.
    """

    record: ImageRecord
    num_classes: int
    matches: Matches
    pairs: PixelPairs
    boundary: BoundaryAreas
    masks: MaskMatches | None
    mask_boundaries: MaskMatches | None

    @property
    def counts(self) -> Counts:
        """Panoptic counts of each class, (K, 8): see `count_matches`."""
        return count_matches(self.matches, self.num_classes)

    @property
    def confusion(self) -> Ints:
        """Pixels by target and prediction, (K + 1, K + 1)."""
        matrix = np.zeros((self.num_classes + 1, self.num_classes + 1), np.int64)
        self.pairs.add_to(matrix)
        return matrix


@dataclass(frozen=True)
class _SharedRuns:
    """Two id maps of one image cut into runs in which neither changes."""

    size: tuple[int, int]
    lengths: Ints  # (R,) pixels
    target: npt.NDArray[np.int32]  # (R,) ids
    pred: npt.NDArray[np.int32]  # (R,) ids

    @classmethod
    def cut(cls, target: Segmented, pred: Segmented) -> "_SharedRuns":
        """Cut both maps; they have one size."""
        starts = run_starts(target.ids, pred.ids)
        return cls(
            target.size,
            run_lengths(starts, target.ids.size),
            np.ascontiguousarray(target.ids).reshape(-1).take(starts),
            np.ascontiguousarray(pred.ids).reshape(-1).take(starts),
        )

    def overlaps(self) -> Overlaps:
        """The pixels that pairs of ids share."""
        return overlaps_of_runs(self.target, self.pred, self.lengths)

    def class_map(
        self, id_of_run: npt.NDArray[np.int32], ids: Ints, index: Mapping[int, int]
    ) -> ClassMap:
        """Class index of every pixel, (H, W).

        Args:
            id_of_run: (R,) `target` or `pred`.
            ids: those that occur, ascending.
            index: id -> class index.
        """
        index_of_id = np.array([index[key] for key in ids.tolist()], np.uint8)
        index_of_run = index_of_id[np.searchsorted(ids, id_of_run)]
        return np.repeat(index_of_run, self.lengths).reshape(self.size)


def score_image(
    record: ImageRecord,
    pred: Segmented,
    target: Segmented,
    categories: Categories,
    *,
    classes: Labels,
    results: Sequence[Row] | None,
    background: bool,
    void_in_union: bool,
    metrics: Sequence[Family] = ALL_FAMILIES,
) -> ImageScores:
    """Everything that one image adds.

    Args:
        record: the image.
        pred: its predicted segments.
        target: its target segments.
        categories: the data set's table.
        classes: its predicted classes, for the confusion matrix: `pred` itself where they are
            those of the segments.
        results: its predicted things, which may overlap; None: no AP.
        background: unlabelled target pixels are background; see `find_matches`.
        void_in_union: leave target void in the union; see `find_matches`.
        metrics: the families of scores that are asked for.

    Raises:
        ValueError: the maps differ in size, an id is not in the table, or a map has other ids than
            its segments.
    """
    require_same_size(pred.size, target.size)
    num_classes = categories.num_classes
    runs = _SharedRuns.cut(target, pred)
    shared = runs.overlaps()
    if not (_are_listed(shared.first, target) and _are_listed(shared.second, pred)):
        raise ValueError("Expected in both maps the ids of their segments, but they differ")
    matches = match_overlaps(
        shared,
        class_indices(pred, categories),
        class_indices(target, categories),
        crowds=target.crowds,
        scores=pred.score_of,
        background=background,
        void_in_union=void_in_union,
    )
    target_index = class_indices_with_void(target, categories)
    if classes is pred:
        pred_index = class_indices_with_void(pred, categories)
        confusion = confusion_of_overlaps(shared, pred_index, target_index, num_classes)
    else:  # predicted classes of their own: another pair of maps
        confusion = confusion_matrix(classes, target, categories)
    areas = np.zeros((num_classes, 2), np.int64)
    if "boundary" in metrics:
        if classes is pred:
            pred_classes = runs.class_map(runs.pred, shared.second, pred_index)
        else:
            pred_classes = class_map(classes, categories)
        target_classes = runs.class_map(runs.target, shared.first, target_index)
        areas = boundary_areas(pred_classes, target_classes, num_classes, background=background)
    return ImageScores(
        record=record,
        num_classes=num_classes,
        matches=matches,
        pairs=PixelPairs.from_matrix(confusion),
        boundary=BoundaryAreas.from_table(areas),
        **_match_results(results, target, categories, metrics),
    )


def _are_listed(ids: Ints, labels: Segmented) -> bool:
    """Whether these ids and no others are those of the segments, but for void."""
    return set(ids.tolist()) - {VOID_ID} == labels.category_of.keys()


def _match_results(
    results: Sequence[Row] | None,
    target: Segmented,
    categories: Categories,
    metrics: Sequence[Family],
) -> dict[str, Any]:
    """The fields `masks` and `mask_boundaries`."""
    if results is None:
        return {"masks": None, "mask_boundaries": None}
    pred_masks = masks_of_results(results, target.size)
    measured = target.measured() if isinstance(target, ListedPanoptic) else target
    target_masks = Masks.from_things(measured, categories)
    matching = ImageMatching(pred_masks, target_masks)
    return {
        "masks": matching.by_mask() if "AP" in metrics else None,
        "mask_boundaries": matching.by_boundary() if "boundary" in metrics else None,
    }
