"""Prepared data -> a page of what the network will see: augmented images with their labels drawn."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from maskmill.canonical.files import read_json
from maskmill.canonical.folder import PanopticFolder
from maskmill.canonical.panoptic import Panoptic
from maskmill.reporting.contact_sheet import View, write_contact_sheet
from maskmill.stages.build import build
from maskmill.stages.entry import stage

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """What is shown.

    Args:
        data: a prepared data set.
        out: folder for preview.html.
        split: of the data set.
        num_images: spread evenly over the split.
        num_draws: augmented views of each image, those of the first epochs; 0 shows images as they are.
    """

    data: Path
    out: Path
    split: str
    num_images: int
    num_draws: int

    def __post_init__(self) -> None:
        if self.num_images < 1 or self.num_draws < 0:
            raise ValueError(
                f"Expected `preview.num_images` of at least 1 and `preview.num_draws` of at least 0, but got {self.num_images} and "
                f"{self.num_draws} - mend the numbers"
            )
        if not (self.data / self.split / "panoptic.json").is_file():
            raise FileNotFoundError(
                f"{self.data / self.split}: expected a split of a prepared data set, but there is none - run `maskmill prepare` first, or "
                "check `preview.split`"
            )


@stage
def main(cfg: DictConfig) -> None:
    """Draw the page."""
    settings = build(cfg.preview, Settings)
    from maskmill.data.transforms import Augmentation  # slow to import

    augmentation = build(cfg.augment, Augmentation)
    views = list(draw(settings, augmentation if settings.num_draws else None, seed=cfg.seed))
    names = (
        ", ".join(str(one["_target_"]).rpartition(".")[2] for one in cfg.augment.transforms)
        if settings.num_draws
        else "as prepared"
    )
    dataset = read_json(settings.data / "dataset.json")
    path = write_contact_sheet(
        settings.out / "preview.html", dataset, views, split=settings.split, settings=names
    )
    log.info("%d views of %s -> %s", len(views), settings.split, path)


def draw(settings: Settings, augmentation: "Augmentation | None", *, seed: int) -> Iterator[View]:  # type: ignore[name-defined]  # noqa: F821 - imported late
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
            yield record.file_name, image, panoptic
            continue
        for epoch in range(settings.num_draws):
            seen, ids = augmentation(image, panoptic.ids, (seed, epoch, place))
            yield (
                f"{record.file_name}, epoch {epoch + 1}",
                seen,
                Panoptic.from_ids(ids, panoptic.category_of, crowds=panoptic.crowds),
            )


if __name__ == "__main__":
    main()
