"""Model + images -> label maps, in the form in which anyone's predictions are scored."""

import logging

from omegaconf import DictConfig, OmegaConf

from maskmill.assembly.build import build
from maskmill.assembly.settings import PredictSettings
from maskmill.canonical.output_folder import require_replaceable
from maskmill.serving.image_folder import find_images
from maskmill.sources.finding import group_by_kind
from maskmill.stages.entry import stage

log = logging.getLogger(__name__)


@stage
def main(cfg: DictConfig) -> None:
    """Predict every image."""
    settings = build(cfg.predict, PredictSettings)
    require_replaceable(settings.out, written_by="predict", inputs=[settings.images])
    images = find_images(settings.images)
    for group in group_by_kind(images.findings):
        log.warning("%d times: %s", len(group), group[0])
    from maskmill.assembly.model_loading import load_model  # torch takes seconds: not for --help
    from maskmill.serving.prediction_folder import write_predictions

    model = load_model(
        settings.model,
        device=settings.device,
        inference=settings.inference,
        postprocess=settings.postprocess,
    )
    predictions = model.predictor(images, batch_size=settings.batch_size)
    changes = OmegaConf.to_container(cfg.predict.postprocess, resolve=True)
    inference = OmegaConf.to_container(cfg.predict.inference, resolve=True)
    origin = {
        "images": images.digests(),
        "settings": {"inference": inference, "postprocess": changes},
    }
    write_predictions(settings.out, model.files, images.records, predictions, origin=origin)
    fingerprint = model.files.fingerprint[:12]
    log.info("%d predictions by model %s -> %s", len(images.records), fingerprint, settings.out)


if __name__ == "__main__":
    main()
