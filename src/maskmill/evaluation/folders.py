"""A folder of ground truth and one of predictions, read image by image."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import inside, read_json
from maskmill.canonical.folder import ImageRecord, PanopticFolder, png_name
from maskmill.canonical.freed_memory import keep_freed_memory
from maskmill.canonical.panoptic import ListedPanoptic
from maskmill.canonical.png import read_labels
from maskmill.evaluation.image_scores import score_image
from maskmill.evaluation.metric_families import ALL_FAMILIES, Family
from maskmill.evaluation.scored_images import ScoredChunk
from maskmill.metrics.functional.confusion_matrix import Labels
from maskmill.metrics.functional.mask_ap import Row, results_by_image

Results = dict[int, list[Row]]  # image id -> its COCO results


def open_folder(
    folder: Path | PanopticFolder, *, expected: Categories | None = None
) -> PanopticFolder:
    """A folder that is open already, or that of a path; see `PanopticFolder`."""
    return PanopticFolder(folder, expected=expected) if isinstance(folder, Path) else folder


def read_pair(
    target: Path | PanopticFolder, prediction: Path | PanopticFolder
) -> tuple[PanopticFolder, PanopticFolder]:
    """The ground truth and the prediction, after checking that they belong together.

    Raises:
        FileNotFoundError: a folder or file does not exist.
        ValueError: the ground truth has no image or the same one twice, an image has no prediction,
            or the prediction gives a category id another name or kind; see `PanopticFolder`.
    """
    target_folder = open_folder(target)
    if not target_folder.records:
        raise ValueError(
            f"{target_folder.json_path}: expected at least one image, but there is none - "
            "check the split"
        )
    pred_folder = open_folder(prediction, expected=target_folder.categories)
    _require_predictions(target_folder, pred_folder)
    return target_folder, pred_folder


def _require_predictions(target: PanopticFolder, pred: PanopticFolder) -> None:
    missing = [record.file_name for record in target.records if record.id not in pred]
    if missing:
        raise ValueError(
            f"{pred.json_path}: expected a prediction for each of {len(target.records)} images, "
            f"but {len(missing)} have none, first {missing[0]} - predict the whole split"
        )


def read_results(prediction: Path, target: PanopticFolder) -> Results | None:
    """The rows of instances.json by image; None without such a file, or without things.

    Raises:
        ValueError: the file is not valid; see `results_by_image`.
    """
    path = prediction / "instances.json"
    things = thing_ids(target.categories)
    if not (prediction.is_dir() and path.is_file() and things):
        return None
    sizes = {record.id: (record.height, record.width) for record in target.records}
    try:
        return results_by_image(read_json(path), sizes, things)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def thing_ids(categories: Categories) -> list[int]:
    """Category ids of the things: the classes of AP."""
    return [category.id for category in categories if category.isthing]


@dataclass(frozen=True)
class FolderScorer:
    """Scores images of two folders; processes can receive it.

    Args:
        target: the ground truth of these images.
        pred: their predictions.
        semantic: the folder of their class masks; None: the classes are those of the segments.
        background: unlabelled target pixels are background; see `find_matches`.
        void_in_union: leave target void in the union; see `find_matches`.
        metrics: the families of scores that are asked for.
    """

    target: PanopticFolder
    pred: PanopticFolder
    semantic: Path | None
    background: bool
    void_in_union: bool
    metrics: Sequence[Family] = ALL_FAMILIES

    def only(self, records: Sequence[ImageRecord]) -> "FolderScorer":
        """The same for some images: what a process receives."""
        return replace(self, target=self.target.only(records), pred=self.pred.only(records))

    def score(self, records: Sequence[ImageRecord], results: Results | None) -> ScoredChunk:
        """What some images add.

        Args:
            records: the images.
            results: their rows of instances.json; None: no AP.

        Raises:
            ValueError: the labels of an image are not valid; the message names it.
        """
        # The processes are the parallelism; OpenCV's threads would compete for their cores.
        cv2.setNumThreads(0)
        keep_freed_memory()
        scores = []
        for record in records:
            target = self.target.listed(record.id)
            pred = self.pred.listed(record.id)
            classes = self._classes(record, pred)
            try:
                image = score_image(
                    record,
                    pred,
                    target,
                    self.target.categories,
                    classes=classes,
                    results=None if results is None else results[record.id],
                    background=self.background,
                    void_in_union=self.void_in_union,
                    metrics=self.metrics,
                )
            except ValueError as error:
                for labels in (target, pred):
                    labels.measured()  # says what is wrong within one of them
                where = f"{self.pred.json_path}: image {record.file_name}"
                raise ValueError(f"{where}: {error}") from error
            scores.append(image)
        return ScoredChunk(scores)

    def _classes(self, record: ImageRecord, pred: ListedPanoptic) -> Labels:
        """The class mask of an image; its segments where there is no folder of class masks."""
        if self.semantic is None:
            return pred
        return read_labels(inside(self.semantic, png_name(record)))


def find_class_masks(prediction: Path) -> Path | None:
    """The folder of class masks of a prediction; None if it has none."""
    folder = prediction / "semantic"
    return folder if prediction.is_dir() and folder.is_dir() else None
