"""What each image adds to each class, as one array.

It is enough to score any selection or resample of the images without reading them again.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt

from maskmill.canonical.files import read_text
from maskmill.evaluation.bootstrap import Array
from maskmill.evaluation.csv_cells import csv_errors, unprotect
from maskmill.metrics.functional.confusion_matrix import SemanticCounts, semantic_means
from maskmill.metrics.functional.panoptic_quality import PanopticCount, panoptic_means
from maskmill.metrics.functional.ratios import mean_over_classes, ratio


class Field(IntEnum):
    """The last axis of `ImageCounts.table`, and the columns of counts.csv by their small names."""

    IOU_SUM = 0
    TP = 1
    FP = 2
    FN = 3
    INTERSECTION = 4  # pixels
    UNION = 5
    TARGET = 6
    BOUNDARY_INTERSECTION = 7
    BOUNDARY_UNION = 8
    FP_CLASSIFICATION = 9
    FP_LOCALIZATION = 10
    FN_CLASSIFICATION = 11
    FN_LOCALIZATION = 12


NUM_FIELDS = len(Field)
PANOPTIC = [Field[count.name] for count in PanopticCount]  # in the order of PanopticCount
SEMANTIC = ("mIoU", "fwIoU", "pixel_accuracy", "Dice")  # in the order of differences.csv
NAMES = tuple(field.name.lower() for field in Field)
FIELDS = NAMES[: Field.TARGET]
LATER_FIELDS = NAMES[Field.TARGET :]  # missing from files of earlier versions


@dataclass(frozen=True)
class ImageCounts:
    """Counts of images by class.

    Args:
        images: N names.
        categories: K names.
        isthing: (K,) which of them are things.
        table: (N, K + 1, 13), the columns of `Field`. The last row counts unlabelled pixels that
            are background: in the intersection those without a prediction, in the target all.
    """

    images: tuple[str, ...]
    categories: tuple[str, ...]
    isthing: npt.NDArray[np.bool_]
    table: Array

    def score(self, weights: Array) -> dict[str, Array]:
        """The headline numbers for each row of image weights.

        Args:
            weights: (R, N) how often each image counts.

        Returns:
            metric -> (R,) fractions, NaN where nothing occurs that it counts; and "PQ/class" and
            "IoU/class" (R, K).
        """
        num_images, num_rows, num_fields = self.table.shape
        flat = self.table.reshape(num_images, num_rows * num_fields)
        return self._scores((weights @ flat).reshape(-1, num_rows, num_fields))

    def score_each(self) -> dict[str, Array]:
        """The headline numbers of each image alone: (N,) or (N, K), as in `score`."""
        return self._scores(self.table)

    def _scores(self, totals: Array) -> dict[str, Array]:
        """The headline numbers of totals (R, K + 1, 13)."""
        scores = panoptic_means(totals[:, :-1, PANOPTIC], self.isthing)
        pixels = SemanticCounts(
            totals[..., Field.INTERSECTION], totals[..., Field.UNION], totals[..., Field.TARGET]
        )
        semantic = semantic_means(pixels)
        for name in SEMANTIC:
            scores[name] = semantic[name]
        classes = totals[:, :-1]
        boundary_iou = ratio(
            classes[..., Field.BOUNDARY_INTERSECTION], classes[..., Field.BOUNDARY_UNION]
        )
        scores["boundary_mIoU"] = mean_over_classes(boundary_iou)
        scores["IoU/class"] = ratio(classes[..., Field.INTERSECTION], classes[..., Field.UNION])
        return scores

    def select(self, indices: npt.NDArray[np.integer]) -> "ImageCounts":
        """Only the images at the given indices."""
        names = tuple(self.images[index] for index in indices.tolist())
        return replace(self, images=names, table=self.table[indices])

    def reorder(self, images: Sequence[str], categories: Sequence[str]) -> "ImageCounts":
        """The same counts with images and categories in another order.

        Args:
            images: all names.
            categories: all names; a new one has no counts.
        """
        row_of = _positions(self.images)
        column_of = _positions(self.categories)
        new_columns = []
        old_columns = []
        for index, name in enumerate(categories):
            if name in column_of:
                new_columns.append(index)
                old_columns.append(column_of[name])
        source = self.table[[row_of[name] for name in images]]
        table = np.zeros((len(images), len(categories) + 1, NUM_FIELDS))
        table[:, [*new_columns, -1]] = source[:, [*old_columns, -1]]
        isthing = np.zeros(len(categories), bool)
        isthing[new_columns] = self.isthing[old_columns]
        return ImageCounts(tuple(images), tuple(categories), isthing, table)


def _positions(names: Sequence[str]) -> dict[str, int]:
    return {name: index for index, name in enumerate(names)}


def read_image_counts(path: Path) -> ImageCounts:
    """Read the counts.csv that `evaluate` wrote.

    What the file does not contain, such as background pixels, is NaN, and so is a score of it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not CSV, a column is missing, or a count is not a number.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected the counts of an evaluation, but there are none - "
            "run `maskmill evaluate` first"
        )
    rows = _read_rows(path)
    images = tuple(dict.fromkeys(row["image"] for row in rows))
    categories = tuple(sorted({row["category"] for row in rows}))
    row_of = _positions(images)
    column_of = _positions(categories)
    table = np.zeros((len(images), len(categories) + 1, NUM_FIELDS))
    isthing = np.zeros(len(categories), bool)
    for index, row in enumerate(rows):
        column = column_of[row["category"]]
        try:
            for field, name in enumerate(NAMES):
                table[row_of[row["image"]], column, field] = float(row.get(name) or "nan")
        except ValueError as error:
            raise ValueError(
                f"{path}: expected counts, but row {index} has another value ({error}) - "
                "run `maskmill evaluate` again"
            ) from error
        if row["isthing"] == "1":
            isthing[column] = True
    table[:, -1, Field.TARGET] = np.nan  # background is not in the file: no pixel accuracy
    return ImageCounts(images, categories, isthing, table)


def _read_rows(path: Path) -> list[dict[str, str]]:
    rows = []
    with csv_errors(path):
        reader = csv.DictReader(io.StringIO(read_text(path), newline=""), restval="")
        missing = {"image", "category", "isthing", *FIELDS} - set(reader.fieldnames or ())
        for row in reader:
            row["image"] = unprotect(row.get("image", ""))
            row["category"] = unprotect(row.get("category", ""))
            rows.append(row)
    if missing:
        raise ValueError(
            f"{path}: expected counts with the columns {sorted(missing)}, "
            "but they are missing - run `maskmill evaluate` again"
        )
    return rows
