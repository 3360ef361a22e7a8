"""Mask AP of COCO, by its own evaluator (Lin et al., ECCV 2014, arXiv:1405.0312)."""

import contextlib
import io
from collections.abc import Iterable
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskmill.canonical.categories import Categories
from maskmill.canonical.folder import ImageRecord
from maskmill.canonical.panoptic import Panoptic

NAMES = ("AP", "AP50", "AP75", "AP/small", "AP/medium", "AP/large", "AR1", "AR10", "AR100", "AR/small", "AR/medium", "AR/large")


def mask_ap(ground_truth: dict[str, Any], results: list[dict[str, Any]]) -> dict[str, float]:
    """The twelve numbers of COCO's detection challenge for masks.

    Args:
        ground_truth: COCO instances: images, annotations with RLE or polygons, categories.
        results: COCO results: image_id, category_id, segmentation (RLE), score.

    Returns:
        fractions by name, as AP, AP50; NaN where the truth has no object of the kind.
    """
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
    return {name: float("nan") if value < 0 else float(value) for name, value in zip(NAMES, evaluator.stats, strict=True)}


def coco_annotations(record: ImageRecord, panoptic: Panoptic, categories: Categories) -> Iterable[dict[str, Any]]:
    """The things of one image as COCO annotations without their own `id`.

    Args:
        record: of the image.
        panoptic: its labels.
        categories: the data set's table.

    Yields:
        image_id, category_id, segmentation (RLE), area, bbox, iscrowd.
    """
    for segment in panoptic.segments:
        if categories[segment.category_id].isthing:
            rle = coco_mask.encode(np.asfortranarray(panoptic.ids == segment.id, dtype=np.uint8))
            yield segment.as_dict() | {"image_id": record.id, "segmentation": rle}
