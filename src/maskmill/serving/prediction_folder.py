"""Predictions as files: semantic/, panoptic/ with panoptic.json, instances.json (COCO results) and prediction.json."""

import logging
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from tqdm import tqdm

from maskmill.canonical.files import write_json
from maskmill.canonical.folder import ImageRecord, png_name, write_index, write_panoptic
from maskmill.canonical.png import write_labels
from maskmill.metrics.functional.mask_ap import coco_results
from maskmill.postprocess.prediction import Prediction
from maskmill.serving.model_files import ModelFiles

log = logging.getLogger(__name__)


def write_predictions(
    out: Path, model: ModelFiles, records: Sequence[ImageRecord], predictions: Iterable[Prediction]
) -> Path:
    """Write one prediction per record; the folder is replaced whole, once all are there.

    Args:
        out: the folder to write.
        model: whose categories and fingerprint go with the predictions.
        records: the images.
        predictions: of the images, in the same order.

    Returns:
        `out`.
    """
    categories = model.categories
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    annotations, instances = [], []
    bar = tqdm(
        zip(records, predictions, strict=True),
        total=len(records),
        unit="image",
        disable=not sys.stderr.isatty(),
    )
    for record, prediction in bar:
        annotations.append(write_panoptic(part, record, prediction.panoptic))
        instances += [
            {"image_id": record.id, **result}
            for result in coco_results(prediction.panoptic, categories)
        ]
        if (
            categories.background_index is None
        ):  # on a background not every pixel has a class, so there is no such map
            write_labels(part / "semantic" / png_name(record), prediction.semantic)
    write_json(part / "instances.json", instances)
    write_json(
        part / "prediction.json", {"model": model.fingerprint, "data_digest": model.data_digest}
    )
    write_index(part, categories, records, annotations)
    shutil.rmtree(out, ignore_errors=True)
    part.rename(out)
    return out
