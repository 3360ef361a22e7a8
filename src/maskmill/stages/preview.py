"""Prepared data -> a page of what the network will see: augmented images with their labels drawn."""

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.assembly.settings import PreviewSettings
from maskmill.canonical.files import read_json
from maskmill.canonical.folder import PanopticFolder
from maskmill.canonical.panoptic import Panoptic
from maskmill.reporting.preview_page import Sample, write_preview
from maskmill.stages.entry import stage

if TYPE_CHECKING:
    from maskmill.data.transforms import Augmentation

log = logging.getLogger(__name__)


@stage
def main(cfg: DictConfig) -> None:
    """Draw the page."""
    settings = build(cfg.preview, PreviewSettings)
    from maskmill.data.transforms import Augmentation  # slow to import

    augmentation = build(cfg.augment, Augmentation)
    views = list(draw(settings, augmentation if settings.num_draws else None, seed=cfg.seed))
    names = (
        ", ".join(str(one["_target_"]).rpartition(".")[2] for one in cfg.augment.transforms)
        if settings.num_draws
        else "as prepared"
    )
    dataset = read_json(settings.data / "dataset.json")
    path = write_preview(
        settings.out / "preview.html", dataset, views, split=settings.split, augmentation=names
    )
    log.info("%d views of %s -> %s", len(views), settings.split, path)


def draw(
    settings: PreviewSettings, augmentation: "Augmentation | None", *, seed: int
) -> Iterator[Sample]:
    """The views: exactly what the datamodule would hand out in the first epochs."""
    folder = PanopticFolder(settings.data / settings.split)
    records = folder.records
    places = np.unique(
        np.linspace(0, len(records) - 1, min(settings.num_images, len(records))).round().astype(int)
    ).tolist()
    for place in places:
        record = records[place]
        image, panoptic = folder.image(record), folder.panoptic(record.id)
        if augmentation is None:
            yield Sample(record.file_name, image, panoptic)
            continue
        for epoch in range(settings.num_draws):
            seen, ids = augmentation(image, panoptic.ids, (seed, epoch, place))
            yield Sample(
                f"{record.file_name}, epoch {epoch + 1}",
                seen,
                Panoptic.from_ids(ids, panoptic.category_of, crowds=panoptic.crowds),
            )


if __name__ == "__main__":
    main()
