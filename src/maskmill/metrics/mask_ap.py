"""Mask AP of COCO, by its own evaluator (Lin et al., ECCV 2014, arXiv:1405.0312)."""

import contextlib
import io
import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic

log = logging.getLogger(__name__)

NAMES = ("AP", "AP50", "AP75", "AP/small", "AP/medium", "AP/large", "AR1", "AR10", "AR100", "AR/small", "AR/medium", "AR/large")
RESULT_KEYS = ("image_id", "category_id", "segmentation", "score")


@dataclass(frozen=True)
class ImageThings:
    """The true things of one image, as `coco_things` gives them."""

    image_id: int
    size: tuple[int, int]
    things: list[dict[str, Any]]


@dataclass(frozen=True)
class MaskScores:
    """The twelve numbers of COCO by name, and the AP of each category id; fractions, NaN where the truth has no object of the kind."""

    numbers: dict[str, float]
    per_class: dict[int, float]


def mask_ap(ground_truth: dict[str, Any], results: list[dict[str, Any]]) -> MaskScores:
    """The twelve numbers of COCO's detection challenge for masks, and AP per category.

    Args:
        ground_truth: COCO instances: images, annotations with RLE or polygons, categories.
        results: COCO results: image_id, category_id, segmentation (RLE), score. Boxes beside them are left aside: the evaluator would take
            a box's area for its mask's. So are results of images the truth does not have.

    Returns:
        the scores.

    Raises:
        ValueError: a result is not of this form, or its mask has another size than its image.
    """
    results = _masks_only(results, ground_truth)
    with contextlib.redirect_stdout(io.StringIO()):  # the evaluator prints its progress
        truth = COCO()
        truth.dataset = ground_truth
        truth.createIndex()
        guess = truth.loadRes(results) if results else COCO()
        evaluator = COCOeval(truth, guess, "segm")
        if not results:
            evaluator.params.imgIds, evaluator.params.catIds = sorted(truth.getImgIds()), sorted(truth.getCatIds())
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    numbers = {name: float("nan") if value < 0 else float(value) for name, value in zip(NAMES, evaluator.stats, strict=True)}
    precision = evaluator.eval["precision"][:, :, :, 0, -1]  # IoU thresholds, recalls, classes; objects of all sizes, 100 an image
    per_class = [values[values > -1] for values in np.moveaxis(precision, 2, 0)]
    means = [float(values.mean()) if values.size else float("nan") for values in per_class]
    return MaskScores(numbers, {int(key): mean for key, mean in zip(evaluator.params.catIds, means, strict=True)})


def _masks_only(results: list[dict[str, Any]], ground_truth: dict[str, Any]) -> list[dict[str, Any]]:
    """The results of the truth's images, reduced to what is scored."""
    sizes = {row["id"]: [row["height"], row["width"]] for row in ground_truth["images"]}
    category_ids = {row["id"] for row in ground_truth["categories"]}
    if not isinstance(results, list):
        raise ValueError(f"Expected a list of COCO results, but got a {type(results).__name__} - write one row per object")
    for place, row in enumerate(results):
        problem = _problem(row, sizes, category_ids)
        if problem:
            raise ValueError(f"Expected COCO results with masks, but in row {place} {problem} - predict again or mend the file")
    kept = [{key: row[key] for key in RESULT_KEYS} for row in results if row["image_id"] in sizes]
    if len(kept) < len(results):
        log.warning(
            "%d of %d results are of images that the truth does not have: they do not count", len(results) - len(kept), len(results)
        )
    return kept


def _problem(row: Any, sizes: dict[int, list[int]], category_ids: set[int]) -> str | None:  # noqa: ANN401 - any JSON value
    """What is wrong with a result, where the evaluator would stop without a reason or, worse, count something else."""
    missing = [key for key in RESULT_KEYS if key not in row] if isinstance(row, dict) else list(RESULT_KEYS)
    if missing:
        return f"{', '.join(missing)} is missing"
    mask, score = row["segmentation"], row["score"]
    if not isinstance(mask, dict) or not isinstance(mask.get("counts"), str | bytes) or "size" not in mask:
        return "`segmentation` is no compressed run-length code with `size` and `counts`"
    if not isinstance(score, int | float) or not math.isfinite(score):
        return f"`score` is {score!r}"
    if row["category_id"] not in category_ids:
        return f"`category_id` is {row['category_id']!r}, which is no thing of the truth"
    size = sizes.get(row["image_id"], list(mask["size"]))
    return None if list(mask["size"]) == size else f"the mask is {mask['size']} and image {row['image_id']} {size} pixels high and wide"


def coco_things(panoptic: Panoptic, categories: Categories) -> Iterable[dict[str, Any]]:
    """The things of one image as COCO annotations, which lack only `id` and `image_id`.

    Args:
        panoptic: its labels.
        categories: the data set's table.

    Yields:
        category_id, segmentation (RLE, ascii), area, bbox, iscrowd, and the score if there is one.
    """
    for segment in panoptic.segments:
        if categories[segment.category_id].isthing:
            rle = coco_mask.encode(np.asfortranarray(panoptic.ids == segment.id, dtype=np.uint8))
            yield segment.as_dict() | {"segmentation": {"size": list(panoptic.size), "counts": rle["counts"].decode("ascii")}}


def coco_results(panoptic: Panoptic, categories: Categories) -> Iterable[dict[str, Any]]:
    """The predicted things of one image in COCO results form, which lack only `image_id`.

    Only these three keys: beside a box the evaluator would take the box's area for the mask's.

    Args:
        panoptic: a prediction; segments without a score get 1.
        categories: the data set's table.

    Yields:
        category_id, segmentation (RLE, ascii), score.
    """
    for thing in coco_things(panoptic, categories):
        yield {"category_id": thing["category_id"], "segmentation": thing["segmentation"], "score": thing.get("score", 1.0)}


def ap_of_images(images: Iterable[ImageThings], results: list[dict[str, Any]], categories: Categories) -> MaskScores:
    """The scores for some images' things.

    Args:
        images: the truth, image by image.
        results: COCO results of the same images.
        categories: the data set's table; where it has no thing, there are no numbers.

    Raises:
        ValueError: as `mask_ap`.
    """
    things = [category.as_dict() for category in categories if category.isthing]
    if not things:
        return MaskScores({}, {})
    listed = list(images)
    annotations = [thing | {"image_id": image.image_id} for image in listed for thing in image.things]
    truth = {
        "images": [{"id": image.image_id, "height": image.size[0], "width": image.size[1]} for image in listed],
        "annotations": [annotation | {"id": number} for number, annotation in enumerate(annotations, start=1)],
        "categories": things,
    }
    return mask_ap(truth, results)
