"""Predictions as files: semantic/, panoptic/ + panoptic.json, instances.json, prediction.json."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from maskmill.canonical.files import inside, write_json
from maskmill.canonical.folder import (
    ImageRecord,
    png_name,
    require_distinct_png_names,
    write_index,
    write_panoptic,
)
from maskmill.canonical.output_folder import replaced_folder
from maskmill.canonical.png import write_labels
from maskmill.metrics.functional.mask_ap import coco_results
from maskmill.postprocess.prediction import Prediction
from maskmill.serving.model_files import NO_CHANGES, ModelFiles


def write_predictions(
    out: Path,
    model: ModelFiles,
    records: Sequence[ImageRecord],
    predictions: Iterable[Prediction],
    *,
    origin: Mapping[str, Any] = NO_CHANGES,
) -> Path:
    """Write one prediction per record; the folder is replaced as a whole at the end.

    If every category is a thing, there is no semantic/: background pixels have no class.

    Args:
        out: the folder to write.
        model: the model, for its categories and fingerprint.
        records: the images.
        predictions: of the images, in the same order.
        origin: further content of prediction.json, see `PredictionOrigin`: without the digests of
            its images a prediction can be evaluated, but not registered.

    Returns:
        `out`.

    Raises:
        ValueError: `out` contains files that `predict` did not write, two images share the name of
            their label PNG, or an image's name leaves its folder.
    """
    require_distinct_png_names(records)
    with replaced_folder(out, written_by="predict") as folder:
        _write_files(folder, model, records, predictions)
        made_by = {"model": model.fingerprint, "data_digest": model.data_digest}
        write_json(folder / "prediction.json", made_by | dict(origin))
    return out


def _write_files(
    folder: Path,
    model: ModelFiles,
    records: Sequence[ImageRecord],
    predictions: Iterable[Prediction],
) -> None:
    categories = model.categories
    annotations = []
    instances = []
    pairs = zip(records, predictions, strict=True)
    for record, prediction in tqdm(
        pairs, total=len(records), unit="image", disable=not sys.stderr.isatty()
    ):
        annotations.append(write_panoptic(folder, record, prediction.panoptic))
        for result in coco_results(prediction.panoptic, categories):
            instances.append({"image_id": record.id, **result})
        if categories.background_index is None:
            write_labels(inside(folder / "semantic", png_name(record)), prediction.semantic)
    write_json(folder / "instances.json", instances)
    write_index(folder, categories, records, annotations)
