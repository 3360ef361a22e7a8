"""What each image adds to each class, as one array: enough to score any selection or resample of the images without looking at them."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from maskmill.evaluation.bootstrap import Array

FIELDS = ("iou_sum", "tp", "fp", "fn", "intersection", "union")
LOSSES = ("fp_classification", "fp_localization", "fn_classification", "fn_localization")
LATER_FIELDS = (
    "target",
    "boundary_intersection",
    "boundary_union",
    *LOSSES,
)  # absent from files of earlier versions
NUM_FIELDS = len(FIELDS) + len(LATER_FIELDS)
PANOPTIC, INTERSECTION, UNION, TARGET, BOUNDARY, LOST = (
    slice(0, 4),
    4,
    5,
    6,
    slice(7, 9),
    slice(9, 13),
)


@dataclass(frozen=True)
class ImageSums:
    """Counts of images by class.

    Args:
        images: N names.
        categories: K names.
        isthing: (K,) which of them are things.
        table: (N, K + 1, 13) the fields above; the last row holds the unlabelled pixels: right where they are background, and all.
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
            metric -> (R,) fractions, NaN where nothing occurs that it counts; and "PQ/class", "IoU/class" (R, K).
        """
        num_images, rows, fields = self.table.shape
        return self._scores(
            (weights @ self.table.reshape(num_images, rows * fields)).reshape(-1, rows, fields)
        )

    def by_image(self) -> dict[str, Array]:
        """The headline numbers of each image alone, as `score`: (N,) or (N, K)."""
        return self._scores(self.table)

    def _scores(self, totals: Array) -> dict[str, Array]:
        return (
            panoptic(totals[:, :-1, PANOPTIC], self.isthing)
            | losses(totals[:, :-1])
            | semantic(totals)
        )

    def chosen(self, places: npt.NDArray[np.integer]) -> "ImageSums":
        """Only some images, by their places."""
        return replace(
            self, images=tuple(self.images[place] for place in places), table=self.table[places]
        )

    def of(self, images: Sequence[str], categories: Sequence[str]) -> "ImageSums":
        """The same counts with images and categories in another order; categories that are new have none."""
        place = {name: index for index, name in enumerate(self.images)}
        column = {name: index for index, name in enumerate(self.categories)}
        table = np.zeros((len(images), len(categories) + 1, self.table.shape[2]))
        known = [index for index, name in enumerate(categories) if name in column]
        source = self.table[[place[name] for name in images]]
        table[:, [*known, -1]] = source[:, [*(column[categories[index]] for index in known), -1]]
        isthing = np.array(
            [name in column and bool(self.isthing[column[name]]) for name in categories], bool
        )
        return ImageSums(tuple(images), tuple(categories), isthing, table)


def panoptic(totals: Array, isthing: npt.NDArray[np.bool_]) -> dict[str, Array]:
    """PQ, SQ, RQ of all, of things and of stuff from sums (R, K, 4) of IoU, tp, fp, fn; see `panoptic_scores`."""
    iou_sum, tp, fp, fn = np.moveaxis(totals, -1, 0)
    segments = tp + fp / 2 + fn / 2
    occurs = segments > 0
    pq, rq = (_ratio(part, segments) for part in (iou_sum, tp))
    sq = np.where(occurs, np.nan_to_num(_ratio(iou_sum, tp)), np.nan)
    groups = {"": np.ones(len(isthing), bool), "/thing": isthing, "/stuff": ~isthing}
    parts = {"PQ": pq, "SQ": sq, "RQ": rq}
    means = {
        f"{name}{suffix}": _mean(part[:, group])
        for suffix, group in groups.items()
        for name, part in parts.items()
    }
    return means | {"PQ/class": pq}


def losses(totals: Array) -> dict[str, Array]:
    """What PQ lacks to 1, by reason, from sums (R, K, 13); see `panoptic_losses`."""
    iou_sum, tp, fp, fn = np.moveaxis(totals[..., PANOPTIC], -1, 0)
    fp_class, fp_outline, fn_class, fn_outline = np.moveaxis(totals[..., LOST], -1, 0)
    lost = {
        "missed": (fn - fn_class - fn_outline) / 2,
        "background": (fp - fp_class - fp_outline) / 2,
        "classification": (fp_class + fn_class) / 2,
        "localization": tp - iou_sum + (fp_outline + fn_outline) / 2,
    }
    return {
        f"PQ/lost/{name}": _mean(_ratio(part, tp + fp / 2 + fn / 2)) for name, part in lost.items()
    }


def semantic(totals: Array) -> dict[str, Array]:
    """IoU, Dice and accuracy from sums (R, K + 1, 13); see `semantic_scores`."""
    right, union, target = (totals[..., field] for field in (INTERSECTION, UNION, TARGET))
    iou = _ratio(right, union)[:, :-1]
    dice = _ratio(2 * right, right + union)[:, :-1]
    boundary = _ratio(*np.moveaxis(totals[:, :-1, BOUNDARY], -1, 0))
    return {
        "mIoU": _mean(iou),
        "fwIoU": _ratio(np.nansum(iou * target[:, :-1], axis=1), target[:, :-1].sum(axis=1)),
        "pixel_accuracy": _ratio(right.sum(axis=1), target.sum(axis=1)),
        "Dice": _mean(dice),
        "boundary_mIoU": _mean(boundary),
        "IoU/class": iou,
    }


def _ratio(above: Array, below: Array) -> Array:
    ratio: Array = np.divide(
        above, below, out=np.full(np.broadcast(above, below).shape, np.nan), where=below > 0
    )
    return ratio


def _mean(values: Array) -> Array:
    """The mean over the classes (R, K) that occur: (R,)."""
    occurs = ~np.isnan(values)
    return _ratio(np.where(occurs, values, 0).sum(axis=1), occurs.sum(axis=1).astype(np.float64))


def read_sums(path: Path) -> ImageSums:
    """Read the counts.csv that `evaluate` wrote. What it does not hold, as unlabelled pixels, makes no score: those are NaN.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected the counts of an evaluation, but there are none - run `maskmill evaluate` first"
        )
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = {"image", "category", "isthing", *FIELDS} - set(reader.fieldnames or ())
        if missing:
            raise ValueError(
                f"{path}: expected counts with the columns {sorted(missing)}, but they are missing - run `maskmill evaluate` again"
            )
        rows = list(reader)
    images, categories = (
        tuple(dict.fromkeys(row["image"] for row in rows)),
        tuple(sorted({row["category"] for row in rows})),
    )
    things = {row["category"] for row in rows if row["isthing"] == "1"}
    row_of, column_of = (
        {name: place for place, name in enumerate(names)} for names in (images, categories)
    )
    table = np.zeros((len(images), len(categories) + 1, NUM_FIELDS))
    places = [row_of[row["image"]] for row in rows], [column_of[row["category"]] for row in rows]
    for number, field in enumerate((*FIELDS, *LATER_FIELDS)):
        table[(*places, number)] = [float(row.get(field) or "nan") for row in rows]
    table[:, -1, TARGET] = (
        np.nan
    )  # pixels of no class: not in the file, so that there is no accuracy
    return ImageSums(
        images, categories, np.array([name in things for name in categories], bool), table
    )
