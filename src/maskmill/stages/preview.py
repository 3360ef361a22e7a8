"""Prepared data -> a page of the images that the network will see, with their labels drawn."""

import logging

from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.assembly.settings import PreviewSettings
from maskmill.canonical.dataset_file import read_dataset_file
from maskmill.stages.entry import stage

log = logging.getLogger(__name__)


PAGE_KEYS = ("categories", "splits", "statistics")  # what the page shows of dataset.json


@stage
def main(cfg: DictConfig) -> None:
    """Draw the page."""
    settings = build(cfg.preview, PreviewSettings)
    from maskmill.assembly.preview import describe_augmentation, draw_samples  # not for --help
    from maskmill.reporting.preview_page import write_preview

    samples = list(draw_samples(settings, cfg))
    path = write_preview(
        settings.out / "preview.html",
        read_dataset_file(settings.data / "dataset.json", required=PAGE_KEYS),
        samples,
        split=settings.split,
        augmentation=describe_augmentation(settings, cfg),
    )
    log.info("%d images of %s -> %s", len(samples), settings.split, path)


if __name__ == "__main__":
    main()
