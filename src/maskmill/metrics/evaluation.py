"""Two folders in, numbers out: no network, no GPU, no torch; every image of the truth exactly once."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from joblib import Parallel, delayed, effective_n_jobs
from tqdm import tqdm

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import read_json
from maskmill.canonical.folder import ImageRecord, PanopticFolder, png_name
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import read_labels
from maskmill.metrics.confusion import Labels, class_areas, confusion_matrix, semantic_scores
from maskmill.metrics.mask_ap import ImageThings, MaskScores, ap_of_images, coco_things
from maskmill.metrics.panoptic_quality import match_segments, panoptic_scores

MIN_CHUNK = 16  # images per task at least: opening a folder reads its whole JSON
TASKS_PER_WORKER = 8


@dataclass(frozen=True)
class ImageScores:
    """What one image adds: panoptic counts (K, 4), its pairs of classes, and its things for AP.

    `pairs` (P, 3) are the entries of its confusion matrix that are not zero: row, column, pixels. Whole matrices of thousands of images
    and hundreds of classes would not fit into memory.
    """

    record: ImageRecord
    counts: npt.NDArray[np.float64]
    pairs: npt.NDArray[np.int64]
    things: ImageThings

    @property
    def confusion(self) -> npt.NDArray[np.int64]:
        """Pixels by target and prediction, (K + 1, K + 1)."""
        size = len(self.counts) + 1
        matrix = np.zeros((size, size), np.int64)
        matrix[self.pairs[:, 0], self.pairs[:, 1]] = self.pairs[:, 2]
        return matrix


@dataclass(frozen=True)
class Evaluation:
    """The scores of a prediction, image by image; everything else is a sum of these in the order of the images."""

    categories: Categories
    background: bool
    images: list[ImageScores]
    ap: MaskScores

    @cached_property
    def counts(self) -> npt.NDArray[np.float64]:
        """Sum of IoU, tp, fp, fn of each category, (K, 4)."""
        total = np.zeros((self.categories.num_classes, 4))
        for image in self.images:  # in order, so that the sum has the same bits for any number of workers
            total += image.counts
        return total

    @cached_property
    def confusion(self) -> npt.NDArray[np.int64]:
        """Pixels by target and prediction, (K + 1, K + 1)."""
        size = self.categories.num_classes + 1
        total = np.zeros((size, size), np.int64)
        pairs = np.concatenate([image.pairs for image in self.images])
        np.add.at(total, (pairs[:, 0], pairs[:, 1]), pairs[:, 2])
        return total

    def scores(self) -> dict[str, float | None]:
        """All headline numbers, fractions; None for what the truth has nothing of."""
        values = self.of(self.counts, self.confusion) | self.ap.numbers
        return {name: None if np.isnan(value) else value for name, value in values.items()}

    def of(self, counts: npt.NDArray[np.float64], confusion: npt.NDArray[np.int64]) -> dict[str, float]:
        """The numbers of some images' sums, without AP."""
        return panoptic_scores(counts, self.categories) | semantic_scores(confusion, background=self.background)

    def areas(self, image: ImageScores) -> npt.NDArray[np.int64]:
        """Pixels right and in the union, per category of one image: (K, 2)."""
        return np.stack(class_areas(image.confusion, background=self.background), axis=1)


def evaluate_folders(target: Path, prediction: Path, *, background: bool | None = None, workers: int = 1) -> Evaluation:
    """Score a prediction against the truth at the original resolution.

    Args:
        target: a canonical folder or a COCO panoptic JSON file.
        prediction: the same; a folder may also hold semantic/ class maps and instances.json. Without semantic/ the classes are those
            of the segments, and pixels of no segment are wrong; without instances.json there is no AP.
        background: the truth's unlabelled pixels are background; None: where every category is a thing.
        workers: processes; the result does not depend on it.

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
    instances = prediction / "instances.json"
    wants_ap = prediction.is_dir() and instances.is_file()
    size = max(MIN_CHUNK, -(-len(truth.records) // (TASKS_PER_WORKER * effective_n_jobs(workers))))
    chunks = [truth.records[start : start + size] for start in range(0, len(truth.records), size)]
    task = delayed(_score_images)
    jobs = (task(target, prediction, chunk, background=background, wants_ap=wants_ap) for chunk in chunks)
    done = Parallel(n_jobs=workers, return_as="generator")(jobs)
    images = [image for part in tqdm(done, total=len(chunks), unit="chunk", disable=None, leave=False) for image in part]
    ap = _ap([image.things for image in images], instances, truth.categories) if wants_ap else MaskScores({}, {})
    return Evaluation(truth.categories, background, images, ap)


def _ap(images: list[ImageThings], instances: Path, categories: Categories) -> MaskScores:
    try:
        return ap_of_images(images, read_json(instances), categories)
    except ValueError as error:
        raise ValueError(f"{instances}: {error}") from error


def _score_images(target: Path, prediction: Path, records: list[ImageRecord], *, background: bool, wants_ap: bool) -> list[ImageScores]:
    truth, guess = PanopticFolder(target), PanopticFolder(prediction)
    scores = []
    for record in records:
        labels, pred = truth.panoptic(record.id), guess.panoptic(record.id)
        classes = _classes(prediction, record, pred)
        try:
            counts = match_segments(pred, labels, truth.categories, background=background)
            confusion = confusion_matrix(classes, labels, truth.categories)
        except ValueError as error:
            raise ValueError(f"{prediction}: image {record.file_name}: {error}") from error
        things = list(coco_things(labels, truth.categories)) if wants_ap else []
        rows, columns = confusion.nonzero()
        pairs = np.stack([rows, columns, confusion[rows, columns]], axis=1)
        scores.append(ImageScores(record, counts, pairs, ImageThings(record.id, labels.size, things)))
    return scores


def _classes(prediction: Path, record: ImageRecord, pred: Panoptic) -> Labels:
    has_maps = prediction.is_dir() and (prediction / "semantic").is_dir()
    return read_labels(prediction / "semantic" / png_name(record)) if has_maps else pred


def _require_same(truth: PanopticFolder, guess: PanopticFolder) -> None:
    if not truth.records:
        raise ValueError(f"{truth.json_path}: expected at least one image, but there is none - check the split")
    image_id, times = Counter(record.id for record in truth.records).most_common(1)[0]
    if times > 1:
        raise ValueError(f"{truth.json_path}: expected each image once, but image id {image_id} stands {times} times - remove the others")
    missing = [record.file_name for record in truth.records if record.id not in guess]
    if missing:
        raise ValueError(
            f"{guess.json_path}: expected a prediction for each of {len(truth)} images, but {len(missing)} have none, first {missing[0]} - "
            "predict the whole split"
        )
    unknown = [category.name for category in guess.categories if category.id not in truth.categories]
    if unknown:
        raise ValueError(
            f"{guess.json_path}: expected the categories of {truth.json_path}, but {unknown[:5]} are not among them - use its ids"
        )
