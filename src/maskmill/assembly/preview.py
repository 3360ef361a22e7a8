"""The images that the network will see: augmented as in training, with their labels."""

from collections.abc import Iterator

import numpy as np
from omegaconf import DictConfig

from maskmill.assembly.build import build
from maskmill.assembly.settings import PreviewSettings
from maskmill.canonical.folder import PanopticFolder
from maskmill.canonical.panoptic import Panoptic
from maskmill.data.transforms import Augmentation
from maskmill.reporting.preview_page import Sample


def draw_samples(settings: PreviewSettings, cfg: DictConfig) -> Iterator[Sample]:
    """The samples that the datamodule yields in the first epochs, or the images as prepared.

    Args:
        settings: which images, and how many epochs.
        cfg: composed; `augment` and `seed` are read.
    """
    augmentation = build(cfg.augment, Augmentation) if settings.num_draws else None
    folder = PanopticFolder(settings.data / settings.split)
    for index in _spread(len(folder.records), settings.num_images):
        record = folder.records[index]
        image = folder.image(record)
        panoptic = folder.panoptic(record.id)
        if augmentation is None:
            yield Sample(record.file_name, image, panoptic)
            continue
        for epoch in range(settings.num_draws):
            augmented, ids = augmentation(image, panoptic.ids, (cfg.seed, epoch, index))
            labels = Panoptic.from_ids(ids, panoptic.category_of, crowds=panoptic.crowds)
            yield Sample(f"{record.file_name}, epoch {epoch + 1}", augmented, labels)


def describe_augmentation(settings: PreviewSettings, cfg: DictConfig) -> str:
    """The names of the transforms, for people."""
    if not settings.num_draws:
        return "as prepared"
    targets = [str(transform["_target_"]) for transform in cfg.augment.transforms]
    return ", ".join(target.rpartition(".")[2] for target in targets)


def _spread(num_records: int, num_images: int) -> list[int]:
    """Indices of at most `num_images` records, evenly spaced."""
    indices = np.linspace(0, num_records - 1, min(num_images, num_records)).round()
    return [int(index) for index in np.unique(indices)]
