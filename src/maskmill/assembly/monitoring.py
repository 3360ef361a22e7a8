"""A server's log, or a folder of images, against the reference of its model."""

import logging
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from maskmill.assembly.auto_inference import AutoInference
from maskmill.assembly.settings import MonitorSettings
from maskmill.canonical.categories import Categories
from maskmill.evaluation.drift import require_images
from maskmill.evaluation.monitoring import Comparison, compare_with_reference
from maskmill.evaluation.observation import NUM_DIGITS, Observation, observe, read_log
from maskmill.evaluation.reference import read_reference
from maskmill.postprocess.whole_image import WholeImage
from maskmill.serving.image_folder import find_images
from maskmill.serving.model_files import REFERENCE, ModelFiles, read_model
from maskmill.serving.prediction_settings import in_words
from maskmill.sources.finding import Findings, group_by_kind

log = logging.getLogger(__name__)

REGISTRY = "models:/"


@dataclass(frozen=True)
class Monitored:
    """What was found, and for which model."""

    comparison: Comparison
    model: str
    categories: Categories


def monitor(settings: MonitorSettings) -> Monitored:
    """Compare what a model sees with its reference.

    Raises:
        FileNotFoundError: there is no model, no reference or no log.
        ValueError: there are too few images, or a file is damaged.
    """
    files = _model_files(settings.model)
    if files.members:
        raise ValueError(
            f"{settings.model}: expected a model with the statistics of its training images, but "
            "an ensemble has none - monitor one of its models"
        )
    reference = read_reference(files.folder / REFERENCE, digest=files.reference)
    if settings.log is not None:
        observations = _logged(settings.log, files)[-settings.last :]
        if not files.prediction.is_default:
            log.warning(
                "the server predicts with %s, but the reference was measured on whole images: what "
                "concerns predictions may differ by that alone",
                in_words(files.prediction),
            )
    else:
        observations = _predicted(settings)
    require_images(len(observations), settings.log or settings.images)
    comparison = compare_with_reference(
        reference, observations, files.categories, num_listed=settings.num_listed
    )
    return Monitored(comparison, files.fingerprint[:NUM_DIGITS], files.categories)


def _model_files(name: str) -> ModelFiles:
    if not name.startswith(REGISTRY):
        return read_model(Path(name))
    from maskmill.tracking.models import download  # MLflow takes seconds to import

    return read_model(download(name))


def _logged(path: Path, files: ModelFiles) -> list[Observation]:
    """The observations of this model; a server that follows an alias logs several models."""
    version = files.identity[:NUM_DIGITS]
    own = []
    num_others = 0
    for seen in read_log(path):
        if seen.version in ("", version):
            own.append(seen)
        else:
            num_others += 1
    if num_others:
        log.warning("%d observations of other models in %s are left out", num_others, path)
    return own


def _predicted(settings: MonitorSettings) -> list[Observation]:
    from maskmill.assembly.model_loading import load_model  # torch: not for a log

    images = find_images(Path(str(settings.images)))
    for group in group_by_kind(images.findings):
        log.warning("%d times: %s", len(group), group[0])
    inference = settings.inference
    if isinstance(inference, AutoInference):
        inference = WholeImage()  # as the reference was measured
    model = load_model(settings.model, device=settings.device, inference=inference)
    observations = []
    remaining = iter(range(len(images.records)))
    while batch := list(islice(remaining, settings.batch_size)):
        pixels = [images.read(index, Findings())[0] for index in batch]
        predictions = model.predictor(pixels, batch_size=settings.batch_size)
        for index, image, prediction in zip(batch, pixels, predictions, strict=True):
            name = images.records[index].file_name
            observations.append(observe(image, prediction, name=name))
    return observations
