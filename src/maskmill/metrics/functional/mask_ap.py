"""Mask AP of COCO, equal to its own evaluator in every bit (Lin et al., ECCV 2014, arXiv:1405.0312)."""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.metrics.functional.average_precision import PrecisionRecall, precision_recall
from maskmill.metrics.functional.mask_matching import MaskMatches, match_masks
from maskmill.metrics.functional.masks import Masks

log = logging.getLogger(__name__)

NAMES = (
    "AP",
    "AP50",
    "AP75",
    "AP/small",
    "AP/medium",
    "AP/large",
    "AR1",
    "AR10",
    "AR100",
    "AR/small",
    "AR/medium",
    "AR/large",
)
RESULT_KEYS = ("image_id", "category_id", "segmentation", "score")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class MaskScores:
    """The twelve numbers of COCO by name, the AP of each category id, and the curves; fractions, NaN where the truth has no such object."""

    numbers: dict[str, float]
    per_class: dict[int, float]
    curves: PrecisionRecall


def score_matches(images: Sequence[MaskMatches], category_ids: Iterable[int]) -> MaskScores:
    """The scores of matched images.

    Args:
        images: in the order that decides among predictions of equal score.
        category_ids: of the things; without any there are no numbers.
    """
    curves = precision_recall(images, sorted(category_ids))
    if not len(curves.category_ids):
        return MaskScores({}, {}, curves)
    precision, recall, few = curves.precision, curves.recall, curves.recall_of_few
    # Contiguous parts in the evaluator's order of axes: the same values added in the same order give the same bits.
    parts = [precision[0], precision[0, :1], precision[0, 5:6], *precision[1:], *few, *recall]
    numbers = {name: _mean(part) for name, part in zip(NAMES, parts, strict=True)}
    per_class = {
        int(key): _mean(precision[0, :, :, place]) for place, key in enumerate(curves.category_ids)
    }
    return MaskScores(numbers, per_class, curves)


def _mean(values: npt.NDArray[np.float64]) -> float:
    present = values[values > -1]
    return float(np.mean(present)) if present.size else float("nan")


def mask_ap(
    ground_truth: dict[str, Any], results: list[dict[str, Any]], *, boundary: bool = False
) -> MaskScores:
    """The twelve numbers of COCO's detection challenge for masks, and AP per category.

    Args:
        ground_truth: COCO instances: images, annotations with RLE or polygons, categories.
        results: COCO results: image_id, category_id, segmentation (RLE), score. Boxes beside them are left aside: COCO's evaluator would
            take a box's area for its mask's. So are results of images the truth does not have.
        boundary: boundary AP in place of mask AP (Cheng et al., CVPR 2021, arXiv:2103.16562).

    Returns:
        the scores.

    Raises:
        ValueError: a result is not of this form, or its mask has another size than its image.
    """
    sizes = {row["id"]: (int(row["height"]), int(row["width"])) for row in ground_truth["images"]}
    category_ids = sorted({int(row["id"]) for row in ground_truth["categories"]})
    guesses = results_by_image(results, sizes, category_ids)
    truths: dict[int, list[Row]] = {image_id: [] for image_id in sizes}
    for row in ground_truth["annotations"]:
        truths[row["image_id"]].append(
            row | {"segmentation": _as_rle(row["segmentation"], sizes[row["image_id"]])}
        )
    images = [
        match_masks(
            Masks.of_rows(guesses[image_id]), Masks.of_rows(truths[image_id]), boundary=boundary
        )
        for image_id in sorted(sizes)
    ]
    return score_matches(images, category_ids)


def _as_rle(segmentation: Any, size: tuple[int, int]) -> dict[str, Any]:
    if isinstance(segmentation, dict) and not isinstance(segmentation["counts"], list):
        return segmentation
    rles = coco_mask.frPyObjects(segmentation, *size)
    merged: dict[str, Any] = coco_mask.merge(rles) if isinstance(rles, list) else rles
    return merged


def results_by_image(
    results: Any, sizes: Mapping[int, tuple[int, int]], category_ids: Iterable[int]
) -> dict[int, list[Row]]:
    """The results of each image of the truth, reduced to what is scored.

    Args:
        results: COCO results.
        sizes: height and width by image id.
        category_ids: of the truth's things.

    Returns:
        image id -> its rows, in their order.

    Raises:
        ValueError: a result is not of the form that `mask_ap` asks for.
    """
    if not isinstance(results, list):
        raise ValueError(
            f"Expected a list of COCO results, but got a {type(results).__name__} - write one row per object"
        )
    things, strangers = set(category_ids), 0
    of_image: dict[int, list[Row]] = {image_id: [] for image_id in sizes}
    for place, row in enumerate(results):
        problem = _problem(row, sizes, things)
        if problem:
            raise ValueError(
                f"Expected COCO results with masks, but in row {place} {problem} - predict again or mend the file"
            )
        if row["image_id"] in of_image:
            of_image[row["image_id"]].append({key: row[key] for key in RESULT_KEYS})
        else:
            strangers += 1
    if strangers:
        log.warning(
            "%d of %d results are of images that the truth does not have: they do not count",
            strangers,
            len(results),
        )
    return of_image


def _problem(row: Any, sizes: Mapping[int, tuple[int, int]], category_ids: set[int]) -> str | None:
    """What is wrong with a result, where the evaluator would stop without a reason or, worse, count something else."""
    missing = (
        [key for key in RESULT_KEYS if key not in row]
        if isinstance(row, dict)
        else list(RESULT_KEYS)
    )
    if missing:
        return f"{', '.join(missing)} is missing"
    mask, score = row["segmentation"], row["score"]
    if (
        not isinstance(mask, dict)
        or not isinstance(mask.get("counts"), str | bytes)
        or "size" not in mask
    ):
        return "`segmentation` is no compressed run-length code with `size` and `counts`"
    if not isinstance(score, int | float) or not math.isfinite(score):
        return f"`score` is {score!r}"
    if row["category_id"] not in category_ids:
        return f"`category_id` is {row['category_id']!r}, which is no thing of the truth"
    size = list(sizes.get(row["image_id"], mask["size"]))
    return (
        None
        if list(mask["size"]) == size
        else f"the mask is {mask['size']} and image {row['image_id']} {size} pixels high and wide"
    )


def coco_results(panoptic: Panoptic, categories: Categories) -> Iterable[dict[str, Any]]:
    """The predicted things of one image in COCO results form, which lack only `image_id`.

    Only these three keys: beside a box COCO's evaluator would take the box's area for the mask's.

    Args:
        panoptic: a prediction; segments without a score get 1.
        categories: the data set's table.

    Yields:
        category_id, segmentation (RLE, ascii), score.
    """
    masks = Masks.of_things(panoptic, categories)
    for category_id, rle, score in zip(
        masks.category_id.tolist(), masks.rles, masks.score.tolist(), strict=True
    ):
        yield {
            "category_id": category_id,
            "segmentation": rle | {"counts": rle["counts"].decode("ascii")},
            "score": score,
        }
