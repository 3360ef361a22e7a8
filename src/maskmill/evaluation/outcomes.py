"""What labels say about predictions, as tables that can be weighted image by image."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import Categories
from maskmill.evaluation.observation import NUM_BINS
from maskmill.evaluation.reference import LabelledObservation
from maskmill.metrics.functional.confusion_matrix import semantic_scores
from maskmill.metrics.functional.panoptic_quality import PanopticCount, panoptic_scores

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Outcomes:
    """The outcomes of labelled images.

    Args:
        labelled: N images.
        categories: of the data set.
    """

    def __init__(self, labelled: Sequence[LabelledObservation], categories: Categories) -> None:
        self.categories = categories
        self.num_images = len(labelled)
        self.counts = np.zeros((len(labelled), categories.num_classes, len(PanopticCount)))
        pixels: list[tuple[int, ...]] = []
        for image, row in enumerate(labelled):
            for counted in row.pixels:
                pixels.append((image, *counted))
            self._count_segments(self.counts[image], row)
        self._pixels = np.array(pixels, np.int64).reshape(-1, 5)  # image, pred, bin, target, count

    def _count_segments(self, total: Floats, row: LabelledObservation) -> None:
        index = self.categories.index
        for segment, iou in zip(row.seen.segments, row.iou, strict=True):
            counts = total[index[segment.category_id]]
            counts[PanopticCount.TP] += iou > 0
            counts[PanopticCount.FP] += iou == 0  # it is -1 if the segment is ignored
            counts[PanopticCount.IOU_SUM] += max(iou, 0.0)
        for key, count in row.missed.items():
            total[index[int(key)], PanopticCount.FN] += count

    def pixel_table(self, weights: Floats) -> Floats:
        """Pixels by predicted class, bin of confidence and class: (K + 1, B, K + 1).

        Args:
            weights: how often each image counts, (N,).
        """
        size = self.categories.num_classes + 1
        image, pred, bin_index, target, count = self._pixels.T
        code = (pred * NUM_BINS + bin_index) * size + target
        total = np.bincount(code, weights[image] * count, minlength=size * NUM_BINS * size)
        return total.astype(np.float64).reshape(size, NUM_BINS, size)

    def scores(self, weights: Floats | None = None) -> dict[str, float]:
        """The scores of the images, by name.

        Args:
            weights: how often each image counts, (N,); None: once.
        """
        weights = np.ones(self.num_images) if weights is None else weights
        confusion = self.pixel_table(weights).sum(axis=1).T  # (K + 1, K + 1), target in rows
        background = self.categories.background_index is not None
        semantic = semantic_scores(confusion, background=background)
        counts = np.einsum("n,nkc->kc", weights, self.counts)
        return {"mIoU": semantic["mIoU"], **panoptic_scores(counts, self.categories)}
