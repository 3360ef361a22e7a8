"""Two folders in, scores out: no network, no GPU, no torch; every image exactly once."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from maskmill.canonical.categories import Categories
from maskmill.canonical.folder import ImageRecord, PanopticFolder
from maskmill.evaluation.folders import (
    FolderScorer,
    find_class_masks,
    read_pair,
    read_results,
    thing_ids,
)
from maskmill.evaluation.metric_families import ALL_FAMILIES, Family, prefixes
from maskmill.evaluation.scored_images import ScoredChunk, ScoredImages
from maskmill.metrics.functional.calibration_error import Reliability, reliability, scored_segments
from maskmill.metrics.functional.confusion_matrix import class_areas, mean_iou, semantic_scores
from maskmill.metrics.functional.mask_ap import MaskScores, score_matches
from maskmill.metrics.functional.mask_matching import MaskMatches
from maskmill.metrics.functional.panoptic_quality import (
    Counts,
    PanopticCount,
    num_segments,
    panoptic_scores,
)
from maskmill.sources.backends import num_workers, results_in_order

log = logging.getLogger(__name__)

Ints = npt.NDArray[np.int64]
MIN_CHUNK = 16  # images per task at least: starting a task costs a millisecond
MAX_CHUNK = 256  # at most: their scores are joined, to less memory, when all of them are there
TASKS_PER_WORKER = 8
BOUNDARY_AP = ("AP", "AP50", "AP75")  # the numbers of boundary AP that are reported


@dataclass(frozen=True)
class Evaluation:
    """The scores of a prediction; all are sums over its images, in their order.

    Args:
        categories: the data set's table.
        background: unlabelled target pixels are background.
        void_in_union: target void stays in the union of PQ.
        images: what each image adds.
        metrics: the families of scores that are asked for.
    """

    categories: Categories
    background: bool
    void_in_union: bool
    images: ScoredImages
    metrics: Sequence[Family] = ALL_FAMILIES

    def has(self, score: str) -> bool:
        """Is the score of this name of a family that is asked for?"""
        return score.startswith(prefixes(self.metrics))

    @cached_property
    def counts(self) -> Counts:
        """Panoptic counts of each class, (K, 8): the columns of `PanopticCount`."""
        total = np.zeros((self.categories.num_classes, len(PanopticCount)))
        # In order, so that the sum has the same bits for any number of workers.
        for image in self.images:
            total += image.counts
        return total

    @cached_property
    def confusion(self) -> Ints:
        """Pixels by target and prediction, (K + 1, K + 1)."""
        size = self.categories.num_classes + 1
        total = np.zeros((size, size), np.int64)
        for image in self.images:
            image.pairs.add_to(total)
        return total

    @cached_property
    def boundary(self) -> Ints:
        """Boundary pixels in the intersection and in the union, per class: (K, 2)."""
        total = np.zeros((self.categories.num_classes, 2), np.int64)
        for image in self.images:
            areas = image.boundary
            total[areas.index] += np.stack([areas.intersection, areas.union], axis=1)
        return total

    @cached_property
    def ap(self) -> MaskScores:
        """Mask AP; without numbers where there are no instances or no things."""
        matches = [image.masks for image in self.images] if self.has("AP") else []
        return self._ap(matches)

    @cached_property
    def boundary_ap(self) -> MaskScores:
        """Boundary AP; without numbers where there are no instances or no things."""
        return self._ap([image.mask_boundaries for image in self.images])

    def _ap(self, matches: Sequence[MaskMatches | None]) -> MaskScores:
        # Between predictions of equal score COCO's evaluator takes the image of the lower id first.
        by_id = sorted(zip(self.images.records, matches, strict=False), key=_image_id)
        present = []
        for _, matches_of_image in by_id:
            if matches_of_image is not None:
                present.append(matches_of_image)
        return score_matches(present, thing_ids(self.categories) if present else ())

    @cached_property
    def calibration(self) -> Reliability:
        """The reliability of the segments' scores; empty where they have none or not in 0..1."""
        if not self.has("ECE"):
            return reliability(np.zeros(0), np.zeros(0, bool))
        score, correct = scored_segments(image.matches for image in self.images)
        outside = score[(score < 0) | (score > 1)]
        if outside.size:  # AP needs their order only, so other predictions may have logits
            log.warning(
                "no calibration error: expected scores in 0..1, but got %s - give probabilities",
                outside[:3].tolist(),
            )
            return reliability(np.zeros(0), np.zeros(0, bool))
        return reliability(score, correct)

    @property
    def absent(self) -> list[str]:
        """Names of the categories that occur neither in the target nor, counted, in the prediction.

        They are left out of every average.
        """
        _, union = class_areas(self.confusion, background=self.background)
        occurs = (num_segments(self.counts) > 0) | (union > 0)
        names = []
        for category, category_occurs in zip(self.categories, occurs.tolist(), strict=True):
            if not category_occurs:
                names.append(category.name)
        return names

    def scores(self) -> dict[str, float | None]:
        """All headline numbers: fractions, None where the target has nothing that they count.

        ECE is among them where segments have scores.
        """
        values = self.score_counts(self.counts, self.confusion) | self.ap.numbers
        values["boundary_mIoU"] = mean_iou(*self.boundary.T)
        for name, value in self.boundary_ap.numbers.items():
            if name in BOUNDARY_AP:
                values[f"boundary_{name}"] = value
        if self.calibration.count.any():
            values["ECE"] = self.calibration.ece
        scores = {}
        for name, value in values.items():
            if self.has(name):
                scores[name] = None if np.isnan(value) else value
        return scores

    def score_counts(self, counts: Counts, confusion: Ints) -> dict[str, float]:
        """The scores of counts of some images, without AP and boundaries."""
        semantic = semantic_scores(confusion, background=self.background)
        return panoptic_scores(counts, self.categories) | semantic


def _image_id(pair: tuple[ImageRecord, MaskMatches | None]) -> int:
    return pair[0].id


def evaluate_folders(
    target: Path | PanopticFolder,
    prediction: Path | PanopticFolder,
    *,
    background: bool | None = None,
    void_in_union: bool = False,
    metrics: Sequence[Family] = ALL_FAMILIES,
    workers: int = 1,
    chunk: int = MIN_CHUNK,
) -> Evaluation:
    """Score a prediction against the ground truth at the original resolution.

    Args:
        target: a canonical folder or a COCO panoptic JSON file, or one that is open already.
        prediction: the same; a folder may also contain class masks in semantic/, and
            instances.json. Without semantic/ the classes are those of the segments, and pixels of
            no segment are wrong; without instances.json there is no AP.
        background: unlabelled target pixels are background; None: where every category is a thing.
        void_in_union: leave target void in the union of PQ, as BDD100K's evaluator does;
            panopticapi and deeplab2 remove it.
        metrics: the families of scores; nothing is matched or filtered for the others. Segments
            and pixels are always counted, since they decide which images a report shows.
        workers: processes; the result does not depend on it.
        chunk: images that a process scores in one task, at least.

    Returns:
        the scores.

    Raises:
        FileNotFoundError: a folder or file does not exist.
        ValueError: the ground truth has no image or the same one twice, an image has no prediction,
            the prediction gives a category id another name or kind, or sizes or ids do not fit.
    """
    folder, pred_folder = read_pair(target, prediction)
    if background is None:
        background = folder.categories.background_index is not None
    needs_masks = "AP" in metrics or "boundary" in metrics
    path = prediction if isinstance(prediction, Path) else prediction.path
    results = read_results(path, folder) if needs_masks else None
    masks = find_class_masks(path)
    scorer = FolderScorer(folder, pred_folder, masks, background, void_in_union, metrics)
    num_tasks = TASKS_PER_WORKER * num_workers(workers)
    size = max(chunk, min(MAX_CHUNK, -(-len(folder.records) // num_tasks)))
    starts = range(0, len(folder.records), size)

    def tasks() -> Iterator[Callable[[], ScoredChunk]]:
        for start in starts:
            records = folder.records[start : start + size]
            rows = None
            if results is not None:
                rows = {record.id: results[record.id] for record in records}
            yield partial(scorer.only(records).score, records, rows)

    # A process that has nothing to do would take a second to start.
    done = results_in_order(tasks(), min(num_workers(workers), len(starts)))
    chunks = list(tqdm(done, total=len(starts), unit="chunk", disable=None, leave=False))
    images = ScoredImages(folder.records, chunks, size)
    return Evaluation(folder.categories, background, void_in_union, images, metrics)
