"""Model + images -> label maps, in the form in which anyone's predictions are scored."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.assembly.rare_collection import rare_collection
from maskmill.assembly.settings import PredictSettings
from maskmill.canonical.output_folder import require_replaceable
from maskmill.serving.image_folder import find_images
from maskmill.sources.finding import group_by_kind
from maskmill.stages.entry import stage

log = logging.getLogger(__name__)


@stage
def main(cfg: DictConfig) -> int:
    """Predict every image, and return how many there are."""
    settings = build(cfg.predict, PredictSettings)
    require_replaceable(settings.out, written_by="predict", inputs=[Path(settings.images)])
    images = find_images(settings.images, on_problem=settings.on_problem)
    for group in group_by_kind(images.findings):
        log.warning("%d times: %s", len(group), group[0])
    with rare_collection():  # torch takes seconds: not for --help
        from maskmill.assembly.prediction_job import PredictionJob

    job = PredictionJob(cfg.predict, images)
    num_predictions = job.run()
    fingerprint = job.model.files.fingerprint[:12]
    pictures = f"{settings.out}/overlays" if settings.overlays else "predict.overlays=true"
    log.info(
        "%d predictions by model %s -> %s (pictures of them: %s)",
        num_predictions,
        fingerprint,
        settings.out,
        pictures,
    )
    return num_predictions


if __name__ == "__main__":
    main()
