"""Predictions as a folder: those of all images in one format, and prediction.json."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from maskmill.canonical.files import write_json
from maskmill.canonical.folder import ImageRecord
from maskmill.serving.image_folder import Images
from maskmill.serving.model_files import ModelFiles
from maskmill.serving.output_format import OutputFormat
from maskmill.serving.unfinished import UnfinishedFolder
from maskmill.sources.finding import Finding, group_by_kind

log = logging.getLogger(__name__)


class PredictedRows:
    """The rows of the predicted images in order, read again for each iteration.

    Args:
        folder: that has all batches.
        images: all images.
        batches: of the images.
    """

    def __init__(self, folder: UnfinishedFolder, images: Images, batches: Sequence[range]) -> None:
        self.folder = folder
        self.images = images
        self.batches = batches

    def __iter__(self) -> Iterator[tuple[ImageRecord, Any]]:
        for outcome in self.folder.outcomes(self.batches):
            if not outcome.is_excluded:
                yield self.images.records[outcome.index], outcome.row


def finish_folder(
    folder: UnfinishedFolder,
    images: Images,
    batches: Sequence[range],
    output_format: OutputFormat,
    *,
    model: ModelFiles,
    settings: Mapping[str, Any],
) -> int:
    """Write the files about all images, once every batch is there, and report the problems.

    Args:
        folder: that has all batches.
        images: all images.
        batches: of the images.
        output_format: of the predictions.
        model: that made them.
        settings: of inference and post-processing, for prediction.json.

    Returns:
        the number of predictions.
    """
    names: set[str] = set()
    digests = {}
    findings: list[Finding] = []
    for outcome in folder.outcomes(batches):
        names.update(outcome.files)
        findings += outcome.findings
        if not outcome.is_excluded:
            digests[images.records[outcome.index].file_name] = outcome.digest
    folder.remove_others(names)
    output_format.finish(folder.folder, PredictedRows(folder, images, batches))
    excluded = [finding for finding in [*images.findings, *findings] if finding.severity == "error"]
    origin: dict[str, Any] = {
        "model": model.fingerprint,
        "data_digest": model.data_digest,
        "images": digests,
        "settings": settings,
    }
    if model.calibration is not None:
        origin["calibration"] = model.calibration
        fitted = model.postprocess(settings["postprocess"]).table.calibration
        origin["score_calibration"] = {"slope": fitted.slope, "offset": fitted.offset}
    if excluded:
        origin["excluded"] = [finding.as_dict() for finding in excluded]
    write_json(folder.folder / "prediction.json", origin)
    folder.close()
    for group in group_by_kind(findings):
        log.warning("%d times: %s", len(group), group[0])
    return len(digests)
