"""Two folders in, numbers out: no network, no GPU, no torch; every image of the truth exactly once."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from joblib import Parallel, delayed, effective_n_jobs
from tqdm import tqdm

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import read_json
from maskmill.canonical.folder import ImageRecord, PanopticFolder, png_name
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import read_labels
from maskmill.metrics.functional.boundary_iou import boundary_areas
from maskmill.metrics.functional.calibration_error import Reliability, reliability, scored_segments
from maskmill.metrics.functional.confusion_matrix import (
    Labels,
    class_areas,
    class_map,
    confusion_matrix,
    mean_iou,
    semantic_scores,
)
from maskmill.metrics.functional.mask_ap import MaskScores, Row, results_by_image, score_matches
from maskmill.metrics.functional.mask_matching import MaskMatches, match_masks
from maskmill.metrics.functional.masks import Masks
from maskmill.metrics.functional.panoptic_quality import (
    COUNTS,
    Counts,
    count_matches,
    panoptic_scores,
)
from maskmill.metrics.functional.segment_matching import Matches, find_matches

log = logging.getLogger(__name__)

Ints = npt.NDArray[np.int64]
MIN_CHUNK = 16  # images per task at least: opening a folder reads its whole JSON
TASKS_PER_WORKER = 8


@dataclass(frozen=True)
class ImageScores:
    """What one image adds: a few numbers per segment and class, no pixels; small, so that thousands of images fit into memory.

    `pairs` (P, 3) are the entries of its confusion matrix that are not zero: row, column, pixels. `boundary` (P, 3) are its boundaries:
    class index, pixels right, pixels in the union. `masks` and `mask_boundaries` are what AP and boundary AP add up, None without
    instances.json.
    """

    record: ImageRecord
    num_classes: int
    matches: Matches
    pairs: Ints
    boundary: Ints
    masks: MaskMatches | None
    mask_boundaries: MaskMatches | None

    @property
    def counts(self) -> Counts:
        """Panoptic counts of each class, (K, 8): see `count_matches`."""
        return count_matches(self.matches, self.num_classes)

    @property
    def confusion(self) -> Ints:
        """Pixels by target and prediction, (K + 1, K + 1)."""
        matrix = np.zeros((self.num_classes + 1,) * 2, np.int64)
        matrix[self.pairs[:, 0], self.pairs[:, 1]] = self.pairs[:, 2]
        return matrix


@dataclass(frozen=True)
class Evaluation:
    """The scores of a prediction, image by image; everything else is a sum of these in the order of the images."""

    categories: Categories
    background: bool
    void_in_union: bool
    images: list[ImageScores]

    @cached_property
    def counts(self) -> Counts:
        """Panoptic counts of each category, (K, 8): see `count_matches`."""
        total = np.zeros((self.categories.num_classes, len(COUNTS)))
        for (
            image
        ) in self.images:  # in order, so that the sum has the same bits for any number of workers
            total += image.counts
        return total

    @cached_property
    def confusion(self) -> Ints:
        """Pixels by target and prediction, (K + 1, K + 1)."""
        size = self.categories.num_classes + 1
        total = np.zeros((size, size), np.int64)
        pairs = np.concatenate([image.pairs for image in self.images])
        np.add.at(total, (pairs[:, 0], pairs[:, 1]), pairs[:, 2])
        return total

    @cached_property
    def boundary(self) -> Ints:
        """Boundary pixels right and in the union, per category: (K, 2)."""
        total = np.zeros((self.categories.num_classes, 2), np.int64)
        rows = np.concatenate([image.boundary for image in self.images])
        np.add.at(total, rows[:, 0], rows[:, 1:])
        return total

    @cached_property
    def ap(self) -> MaskScores:
        """Mask AP; without numbers where there are no instances or no things."""
        return self._ap([image.masks for image in self.images])

    @cached_property
    def boundary_ap(self) -> MaskScores:
        """Boundary AP, likewise."""
        return self._ap([image.mask_boundaries for image in self.images])

    def _ap(self, matches: Sequence[MaskMatches | None]) -> MaskScores:
        # Among predictions of equal score COCO's evaluator takes the image of the lower id first.
        by_id = sorted(zip(self.images, matches, strict=True), key=lambda pair: pair[0].record.id)
        present = [match for _, match in by_id if match is not None]
        return score_matches(present, thing_ids(self.categories) if present else ())

    @cached_property
    def calibration(self) -> Reliability:
        """Whether the scores of the predicted segments mean what they say; empty where they have none, or others than probabilities."""
        score, right = scored_segments(image.matches for image in self.images)
        outside = score[(score < 0) | (score > 1)]
        if outside.size:  # AP asks for their order only: anyone's predictions may have logits
            log.warning(
                "no calibration error: expected scores in 0..1, but got %s - give probabilities",
                outside[:3].tolist(),
            )
            score, right = score[:0], right[:0]
        return reliability(score, right)

    @property
    def absent(self) -> list[str]:
        """Names of the categories neither in the truth nor predicted where it counts: they are left out of every average."""
        occurs = self.counts[:, 1:4].any(axis=1) | (
            class_areas(self.confusion, background=self.background)[1] > 0
        )
        return [
            category.name
            for category, present in zip(self.categories, occurs, strict=True)
            if not present
        ]

    def scores(self) -> dict[str, float | None]:
        """All headline numbers, fractions; None for what the truth has nothing of; ECE where segments have scores."""
        values = self.of(self.counts, self.confusion) | self.ap.numbers
        values["boundary_mIoU"] = mean_iou(*self.boundary.T)
        values |= {
            f"boundary_{name}": value
            for name, value in self.boundary_ap.numbers.items()
            if name in {"AP", "AP50", "AP75"}
        }
        values |= {"ECE": self.calibration.ece} if self.calibration.number.any() else {}
        return {name: None if np.isnan(value) else value for name, value in values.items()}

    def of(self, counts: Counts, confusion: Ints) -> dict[str, float]:
        """The numbers of some images' sums, without AP and boundaries."""
        return panoptic_scores(counts, self.categories) | semantic_scores(
            confusion, background=self.background
        )

    def areas(self, image: ImageScores) -> Ints:
        """Pixels right and in the union, per category of one image: (K, 2)."""
        return np.stack(class_areas(image.confusion, background=self.background), axis=1)


def evaluate_folders(
    target: Path,
    prediction: Path,
    *,
    background: bool | None = None,
    void_in_union: bool = False,
    workers: int = 1,
    chunk: int = MIN_CHUNK,
) -> Evaluation:
    """Score a prediction against the truth at the original resolution.

    Args:
        target: a canonical folder or a COCO panoptic JSON file.
        prediction: the same; a folder may also hold semantic/ class maps and instances.json. Without semantic/ the classes are those
            of the segments, and pixels of no segment are wrong; without instances.json there is no AP.
        background: the truth's unlabelled pixels are background; None: where every category is a thing.
        void_in_union: PQ leaves the truth's void in the union, as BDD100K and deeplab2 count; panopticapi takes it out.
        workers: processes; the result does not depend on it.
        chunk: images that a process scores in one go, at least.

    Returns:
        the scores.

    Raises:
        FileNotFoundError: a folder or file is not there.
        ValueError: the truth has no image or one twice, an image has no prediction, the category tables differ, or sizes or ids do not fit.
    """
    truth, guess = PanopticFolder(target), PanopticFolder(prediction)
    _require_same(truth, guess)
    if background is None:
        background = truth.categories.background_index is not None
    results = _results(prediction, truth)
    score = delayed(
        partial(
            _score_images, target, prediction, background=background, void_in_union=void_in_union
        )
    )
    size = max(chunk, -(-len(truth.records) // (TASKS_PER_WORKER * effective_n_jobs(workers))))
    chunks = [truth.records[start : start + size] for start in range(0, len(truth.records), size)]
    jobs = (
        score(
            chunk, None if results is None else {record.id: results[record.id] for record in chunk}
        )
        for chunk in chunks
    )
    done = Parallel(n_jobs=workers, return_as="generator")(jobs)
    images = [
        image
        for part in tqdm(done, total=len(chunks), unit="chunk", disable=None, leave=False)
        for image in part
    ]
    return Evaluation(truth.categories, background, void_in_union, images)


def thing_ids(categories: Categories) -> list[int]:
    """Category ids of the things: the classes of AP."""
    return [category.id for category in categories if category.isthing]


def _results(prediction: Path, truth: PanopticFolder) -> dict[int, list[Row]] | None:
    """The rows of instances.json by image, where there is one."""
    instances = prediction / "instances.json"
    things = thing_ids(truth.categories)
    if not (prediction.is_dir() and instances.is_file() and things):
        return None
    try:
        return results_by_image(
            read_json(instances),
            {record.id: (record.height, record.width) for record in truth.records},
            things,
        )
    except ValueError as error:
        raise ValueError(f"{instances}: {error}") from error


def _score_images(
    target: Path,
    prediction: Path,
    records: Sequence[ImageRecord],
    results: dict[int, list[Row]] | None,
    *,
    background: bool,
    void_in_union: bool,
) -> list[ImageScores]:
    cv2.setNumThreads(
        0
    )  # the workers are the parallelism; OpenCV's own threads would fight them for the cores
    truth, guess = PanopticFolder(target), PanopticFolder(prediction)
    scores = []
    for record in records:
        labels, pred = truth.panoptic(record.id), guess.panoptic(record.id)
        classes = _classes(prediction, record, pred)
        try:
            scores.append(
                score_image(
                    record,
                    pred,
                    labels,
                    truth.categories,
                    classes=classes,
                    results=None if results is None else results[record.id],
                    background=background,
                    void_in_union=void_in_union,
                )
            )
        except ValueError as error:
            raise ValueError(f"{prediction}: image {record.file_name}: {error}") from error
    return scores


def score_image(
    record: ImageRecord,
    pred: Panoptic,
    target: Panoptic,
    categories: Categories,
    *,
    classes: Labels,
    results: Sequence[Row] | None,
    background: bool,
    void_in_union: bool,
) -> ImageScores:
    """Everything that one image adds.

    Args:
        record: the image.
        pred: its predicted segments.
        target: its true ones.
        categories: the data set's table.
        classes: its predicted classes, for the confusion matrix; perhaps those of the segments.
        results: its predicted things, which may overlap; None: no AP.
        background: as in `evaluate_folders`.
        void_in_union: likewise.

    Raises:
        ValueError: the maps differ in size, or an id is in no table.
    """
    num_classes = categories.num_classes
    matches = find_matches(
        pred, target, categories, background=background, void_in_union=void_in_union
    )
    confusion = confusion_matrix(classes, target, categories)
    maps = class_map(classes, categories), class_map(target, categories)
    masks = mask_boundaries = None
    if results is not None:
        guesses, truths = Masks.of_rows(results), Masks.of_things(target, categories)
        masks, mask_boundaries = (
            match_masks(guesses, truths, boundary=boundary) for boundary in (False, True)
        )
    pairs, boundary = (
        _sparse(confusion[..., None]),
        _sparse(boundary_areas(*maps, num_classes, background=background)),
    )
    return ImageScores(record, num_classes, matches, pairs, boundary, masks, mask_boundaries)


def _sparse(table: Ints) -> Ints:
    """Places of the lines (the last axis) that are not all zero, and what stands there: a row each."""
    places = np.argwhere(table.any(axis=-1))
    return np.concatenate([places, table[tuple(places.T)]], axis=1)


def _classes(prediction: Path, record: ImageRecord, pred: Panoptic) -> Labels:
    has_maps = prediction.is_dir() and (prediction / "semantic").is_dir()
    return read_labels(prediction / "semantic" / png_name(record)) if has_maps else pred


def _require_same(truth: PanopticFolder, guess: PanopticFolder) -> None:
    if not truth.records:
        raise ValueError(
            f"{truth.json_path}: expected at least one image, but there is none - check the split"
        )
    image_id, times = Counter(record.id for record in truth.records).most_common(1)[0]
    if times > 1:
        raise ValueError(
            f"{truth.json_path}: expected each image once, but image id {image_id} stands {times} times - remove the others"
        )
    missing = [record.file_name for record in truth.records if record.id not in guess]
    if missing:
        raise ValueError(
            f"{guess.json_path}: expected a prediction for each of {len(truth)} images, but {len(missing)} have none, first {missing[0]} - "
            "predict the whole split"
        )
    unknown = [
        category.name for category in guess.categories if category.id not in truth.categories
    ]
    if unknown:
        raise ValueError(
            f"{guess.json_path}: expected the categories of {truth.json_path}, but {unknown[:5]} are not among them - use its ids"
        )
