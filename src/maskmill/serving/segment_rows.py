"""The segments of a prediction as plain values, for JSON."""

import math
from typing import Any

from maskmill.canonical.categories import Categories
from maskmill.metrics.functional.mask_runs import MaskRuns
from maskmill.postprocess.prediction import Prediction


def segment_rows(prediction: Prediction, categories: Categories) -> list[dict[str, Any]]:
    """The segments in COCO's form, with the names of their classes.

    Args:
        prediction: of one image.
        categories: of the model.

    Returns:
        for each segment: id, category_id, name, score (None if unknown), area in px, bbox
        (x, y, w, h) in px, and segmentation: size (H, W) and compressed counts.
    """
    panoptic = prediction.panoptic
    wanted = [segment.id for segment in panoptic.segments]
    rles = MaskRuns.from_ids(panoptic.ids, wanted).codes()
    rows = []
    for segment, rle in zip(panoptic.segments, rles, strict=True):
        is_known = segment.score is not None and math.isfinite(segment.score)
        row = {
            "id": segment.id,
            "category_id": segment.category_id,
            "name": categories[segment.category_id].name,
            "score": segment.score if is_known else None,
            "area": segment.area,
            "bbox": list(segment.bbox),
            "segmentation": {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")},
        }
        rows.append(row)
    return rows
