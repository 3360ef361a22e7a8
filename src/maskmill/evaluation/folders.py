"""A folder of ground truth and one of predictions, read image by image."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import read_json
from maskmill.canonical.folder import ImageRecord, PanopticFolder, png_name
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import read_labels
from maskmill.evaluation.image_scores import ImageScores, score_image
from maskmill.metrics.functional.confusion_matrix import Labels
from maskmill.metrics.functional.mask_ap import Row, results_by_image

Results = dict[int, list[Row]]  # image id -> its COCO results


def read_pair(target: Path, prediction: Path) -> PanopticFolder:
    """The ground truth, after checking that the prediction belongs to it.

    Raises:
        FileNotFoundError: a folder or file does not exist.
        ValueError: the ground truth has no image or the same one twice, an image has no prediction,
            or the category tables differ.
    """
    target_folder = PanopticFolder(target)
    pred_folder = PanopticFolder(prediction)
    _require_unique_images(target_folder)
    _require_predictions(target_folder, pred_folder)
    _require_known_categories(target_folder, pred_folder)
    return target_folder


def _require_unique_images(target: PanopticFolder) -> None:
    if not target.records:
        raise ValueError(
            f"{target.json_path}: expected at least one image, but there is none - check the split"
        )
    image_id, times = Counter(record.id for record in target.records).most_common(1)[0]
    if times > 1:
        raise ValueError(
            f"{target.json_path}: expected each image once, but image id {image_id} is listed "
            f"{times} times - remove the others"
        )


def _require_predictions(target: PanopticFolder, pred: PanopticFolder) -> None:
    missing = [record.file_name for record in target.records if record.id not in pred]
    if missing:
        raise ValueError(
            f"{pred.json_path}: expected a prediction for each of {len(target)} images, "
            f"but {len(missing)} have none, first {missing[0]} - predict the whole split"
        )


def _require_known_categories(target: PanopticFolder, pred: PanopticFolder) -> None:
    known = target.categories
    unknown = [category.name for category in pred.categories if category.id not in known]
    if unknown:
        raise ValueError(
            f"{pred.json_path}: expected the categories of {target.json_path}, "
            f"but {unknown[:5]} are not among them - use its ids"
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
        target: a canonical folder or a COCO panoptic JSON file.
        prediction: a canonical folder or a COCO panoptic JSON file.
        background: unlabelled target pixels are background; see `find_matches`.
        void_in_union: leave target void in the union; see `find_matches`.
    """

    target: Path
    prediction: Path
    background: bool
    void_in_union: bool

    def score(self, records: Sequence[ImageRecord], results: Results | None) -> list[ImageScores]:
        """What each of some images adds.

        Args:
            records: the images.
            results: their rows of instances.json; None: no AP.

        Raises:
            ValueError: the labels of an image are not valid; the message names it.
        """
        # The processes are the parallelism; OpenCV's threads would compete for their cores.
        cv2.setNumThreads(0)
        target_folder = PanopticFolder(self.target)
        pred_folder = PanopticFolder(self.prediction)
        scores = []
        for record in records:
            target = target_folder.panoptic(record.id)
            pred = pred_folder.panoptic(record.id)
            classes = self._classes(record, pred)
            try:
                image = score_image(
                    record,
                    pred,
                    target,
                    target_folder.categories,
                    classes=classes,
                    results=None if results is None else results[record.id],
                    background=self.background,
                    void_in_union=self.void_in_union,
                )
            except ValueError as error:
                raise ValueError(f"{self.prediction}: image {record.file_name}: {error}") from error
            scores.append(image)
        return scores

    def _classes(self, record: ImageRecord, pred: Panoptic) -> Labels:
        """The class mask of an image; its segments where there is no folder of class masks."""
        folder = self.prediction / "semantic"
        if not (self.prediction.is_dir() and folder.is_dir()):
            return pred
        return read_labels(folder / png_name(record))
