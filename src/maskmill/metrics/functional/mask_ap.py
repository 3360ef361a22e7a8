"""Mask AP of COCO, equal to its own evaluator in every bit.

Lin et al., ECCV 2014 (arXiv:1405.0312). Our own code, since the evaluator cannot weight images,
as intervals need; benchmarks/metrics.py compares the times of both.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.schema import RESULTS, require_schema
from maskmill.metrics.functional.average_precision import PrecisionRecall, precision_recall
from maskmill.metrics.functional.mask_matching import LEVELS, MaskMatches, match_masks
from maskmill.metrics.functional.masks import Masks

log = logging.getLogger(__name__)

NAMES = (
    *("AP", "AP50", "AP75", "AP/small", "AP/medium", "AP/large"),
    *("AR1", "AR10", "AR100", "AR/small", "AR/medium", "AR/large"),
)
RESULT_KEYS = ("image_id", "category_id", "segmentation", "score")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class MaskScores:
    """The scores of masks: fractions, NaN where the target has no such object.

    Args:
        numbers: the twelve numbers of COCO by name.
        per_class: category id -> AP.
        curves: precision over recall.
    """

    numbers: dict[str, float]
    per_class: dict[int, float]
    curves: PrecisionRecall


def score_matches(images: Sequence[MaskMatches], category_ids: Iterable[int]) -> MaskScores:
    """The scores of matched images.

    Args:
        images: in the order that decides between predictions of equal score.
        category_ids: of the things; without any there are no numbers.
    """
    curves = precision_recall(images, sorted(category_ids))
    if not len(curves.category_ids):
        return MaskScores({}, {}, curves)
    of_all_sizes, *of_one_size = curves.precision
    # Contiguous slices in the evaluator's order of axes: the same order of additions, the same bits
    slices = [of_all_sizes]
    for level in LEVELS.values():
        slices.append(of_all_sizes[level : level + 1])
    slices += [*of_one_size, *curves.recall_of_few, *curves.recall]
    numbers = {}
    for name, values in zip(NAMES, slices, strict=True):
        numbers[name] = _mean(values)
    per_class = {}
    for index, category_id in enumerate(curves.category_ids.tolist()):
        per_class[category_id] = _mean(of_all_sizes[:, :, index])
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
        results: COCO results: image_id, category_id, segmentation (RLE), score. A box beside them
            is ignored: COCO's evaluator would take its area for the mask's. Results of images
            that the ground truth does not have are ignored and reported.
        boundary: boundary AP instead of mask AP (Cheng et al., CVPR 2021, arXiv:2103.16562).

    Returns:
        the scores.

    Raises:
        ValueError: a result is not of this form, or its mask has another size than its image.
    """
    sizes = {}
    targets: dict[int, list[Row]] = {}
    for row in ground_truth["images"]:
        sizes[row["id"]] = int(row["height"]), int(row["width"])
        targets[row["id"]] = []
    category_ids = sorted({int(row["id"]) for row in ground_truth["categories"]})
    preds = results_by_image(results, sizes, category_ids)
    for row in ground_truth["annotations"]:
        image_id = row["image_id"]
        rle = _as_rle(row["segmentation"], sizes[image_id])
        targets[image_id].append(row | {"segmentation": rle})
    images = []
    for image_id in sorted(sizes):
        pred = masks_of_results(preds[image_id], sizes[image_id])
        target = Masks.from_rows(targets[image_id], sizes[image_id])
        images.append(match_masks(pred, target, boundary=boundary))
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
    """The results of each image of the ground truth, reduced to what is scored.

    Args:
        results: COCO results.
        sizes: height and width by image id.
        category_ids: of the things.

    Returns:
        image id -> its rows, in their order.

    Raises:
        ValueError: a result does not have the form that `mask_ap` expects.
    """
    require_schema(RESULTS, results, "COCO results", name="results")
    things = set(category_ids)
    num_unknown = 0
    by_image: dict[int, list[Row]] = {image_id: [] for image_id in sizes}
    for index, row in enumerate(results):
        if row["category_id"] not in things:
            raise ValueError(
                f"COCO results: expected the id of a thing at results[{index}].category_id (of "
                f"image_id {row['image_id']}), but got {row['category_id']} - use the ids of the "
                "category table"
            )
        if row["image_id"] in by_image:
            by_image[row["image_id"]].append({key: row[key] for key in RESULT_KEYS})
        else:
            num_unknown += 1
    if num_unknown:
        log.warning(
            "%d of %d results belong to images that the ground truth does not have: ignored",
            num_unknown,
            len(results),
        )
    return by_image


def masks_of_results(rows: Sequence[Row], size: tuple[int, int]) -> Masks:
    """The masks of the results of one image.

    Args:
        rows: results of the form `ResultRow`.
        size: height and width of the image.

    Raises:
        ValueError: a code has another size, or is damaged; the message has its number.
    """
    try:
        return Masks.from_rows(rows, size)
    except ValueError as error:
        raise ValueError(
            f"instances.json: image_id {rows[0]['image_id']}, result {error} - predict again"
        ) from error


def coco_results(panoptic: Panoptic, categories: Categories) -> Iterable[dict[str, Any]]:
    """The predicted things of one image in COCO results form, without `image_id`.

    Only these three keys: beside a box, COCO's evaluator would take the box's area for the mask's.

    Args:
        panoptic: a prediction; segments without a score get 1.
        categories: the data set's table.

    Yields:
        category_id, segmentation (RLE, ascii), score.
    """
    masks = Masks.from_things(panoptic, categories)
    codes = masks.runs.codes()
    rows = zip(masks.category_id.tolist(), codes, masks.score.tolist(), strict=True)
    for category_id, rle, score in rows:
        segmentation = rle | {"counts": rle["counts"].decode("ascii")}
        yield {"category_id": category_id, "segmentation": segmentation, "score": score}
