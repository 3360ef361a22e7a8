"""Model + images -> label maps, in the form anyone's predictions are scored in."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.assembly.settings import PredictSettings
from maskmill.canonical.files import inside
from maskmill.canonical.folder import ImageRecord, PanopticFolder, require_distinct_png_names
from maskmill.canonical.output_folder import require_replaceable
from maskmill.canonical.png import RGB, read_rgb
from maskmill.stages.entry import stage

log = logging.getLogger(__name__)

IMAGE_ENDINGS = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"}


@dataclass(frozen=True)
class Images:
    """The images to predict: their records and where they lie."""

    root: Path
    records: tuple[ImageRecord, ...]

    def __iter__(self) -> Iterator[RGB]:
        for record in self.records:
            yield read_rgb(inside(self.root, record.file_name))


def find_images(folder: Path) -> Images:
    """The images of a prepared split, or all image files below a folder in the order of their names.

    Raises:
        FileNotFoundError: there is no such folder, or no image in it.
    """
    if (folder / "panoptic.json").is_file():
        split = PanopticFolder(folder)
        return Images(split.image_folder, split.records)
    paths = (
        sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_ENDINGS)
        if folder.is_dir()
        else []
    )
    if not paths:
        raise FileNotFoundError(
            f"{folder}: expected a prepared split or a folder of images, but found no image - check `predict.images`"
        )
    records = []
    for image_id, path in enumerate(paths, start=1):
        height, width = read_rgb(path).shape[:2]
        records.append(ImageRecord(image_id, path.relative_to(folder).as_posix(), height, width))
    return Images(folder, tuple(records))


@stage
def main(cfg: DictConfig) -> None:
    """Predict every image."""
    settings = build(cfg.predict, PredictSettings)
    require_replaceable(settings.out, written_by="predict", inputs=[settings.images])
    images = find_images(settings.images)
    require_distinct_png_names(images.records)
    from maskmill.assembly.model_loading import load_model
    from maskmill.serving.prediction_folder import write_predictions

    model = load_model(
        settings.model,
        device=settings.device,
        inference=settings.inference,
        postprocess=settings.postprocess,
    )
    predictions = model.predictor(images, batch_size=settings.batch_size)
    write_predictions(settings.out, model.files, images.records, predictions)
    log.info(
        "%d predictions by model %s -> %s",
        len(images.records),
        model.files.fingerprint[:12],
        settings.out,
    )


if __name__ == "__main__":
    main()
