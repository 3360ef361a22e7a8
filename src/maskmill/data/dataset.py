"""One canonical split as samples, and samples as batches."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from maskmill.canonical.categories import IGNORE_INDEX
from maskmill.canonical.folder import PanopticFolder
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.png import RGB
from maskmill.data.mixing import Seed, View, mixed
from maskmill.data.sampling import Draw
from maskmill.data.targets import UNKNOWN, encode_targets
from maskmill.data.transforms import Augmentation

Sample = dict[str, Any]
Batch = dict[str, Any]


class SegmentationDataset(Dataset[Sample]):
    """Images and targets of one split.

    Args:
        folder: a canonical split, as `prepare` writes it.
        augmentation: what training sees; None leaves images as they are and adds the truth for metrics.
        seed: of the augmentation, together with epoch and index.

    Raises:
        FileNotFoundError: the split is not there.
        ValueError: the split is broken.
    """

    def __init__(self, folder: Path, *, augmentation: Augmentation | None = None, seed: int = 0) -> None:
        self.folder = PanopticFolder(folder)
        self.augmentation = augmentation
        self.seed = seed
        self.records = self.folder.records

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, draw: Draw | int) -> Sample:
        """One sample.

        Args:
            draw: the place in the split, and for training the epoch.

        Returns:
            image (3, H, W) uint8, semantic (H, W) uint8 and instance (H, W) int32 as in `data.targets`; without augmentation also
            `panoptic` (the truth with the data set's own ids), `valid` (False for a repeat) and `index`.
        """
        draw = Draw(draw) if isinstance(draw, int) else draw
        seed = (self.seed, draw.epoch, draw.sample)
        if self.augmentation is None:
            image, panoptic = self._labelled(draw.sample)
            return self._tensors(image, panoptic, min_area_px=0) | {"panoptic": panoptic, "valid": draw.valid, "index": draw.sample}
        if self.augmentation.mix is None:
            view = self._view(draw.sample, seed)
        else:
            view = mixed(self.augmentation.mix, self._view, len(self), seed, self.folder.categories)
        seen = Panoptic.from_ids(view.ids, view.category_of, crowds=view.crowds)
        return self._tensors(view.image, seen, min_area_px=self.augmentation.min_area_px)

    def _labelled(self, sample: int) -> tuple[RGB, Panoptic]:
        """An image and its labels as they lie on disk."""
        record = self.records[sample]
        image, panoptic = self.folder.image(record), self.folder.panoptic(record.id)
        if panoptic.ids.shape != image.shape[:2]:
            raise ValueError(
                f"{self.folder.json_path}: labels of {record.file_name} are {panoptic.ids.shape}, but its image is {image.shape[:2]} - "
                "run `dvc repro prepare` again"
            )
        return image, panoptic

    def _view(self, sample: int, seed: Seed) -> View:
        """One augmented sample by itself."""
        assert self.augmentation is not None
        image, panoptic = self._labelled(sample)
        return View(*self.augmentation(image, panoptic.ids, seed), panoptic.category_of, panoptic.crowds, self.records[sample].file_name)

    def _tensors(self, image: np.ndarray[Any, np.dtype[np.uint8]], panoptic: Panoptic, *, min_area_px: int) -> Sample:
        semantic, instance = encode_targets(panoptic, self.folder.categories, min_area_px=min_area_px)
        return {
            "image": torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
            "semantic": torch.from_numpy(semantic),
            "instance": torch.from_numpy(instance),
        }


def collate(samples: list[Sample]) -> Batch:
    """Stack samples to a batch; smaller ones are padded right and below with black and unknown labels.

    Args:
        samples: of `SegmentationDataset`.

    Returns:
        image (B, 3, H, W) uint8, semantic (B, H, W) uint8, instance (B, H, W) int32, `size`: (h, w) of each before padding; for
        evaluation also the lists `panoptic`, `valid` and `index`.
    """
    sizes = [(int(sample["image"].shape[1]), int(sample["image"].shape[2])) for sample in samples]
    height, width = max(size[0] for size in sizes), max(size[1] for size in sizes)
    fills = {"image": 0, "semantic": IGNORE_INDEX, "instance": UNKNOWN}
    batch: Batch = {key: torch.stack([_pad(sample[key], height, width, fill) for sample in samples]) for key, fill in fills.items()}
    lists = {key: [sample[key] for sample in samples] for key in ("panoptic", "valid", "index") if key in samples[0]}
    return batch | {"size": sizes} | lists


def _pad(tensor: Tensor, height: int, width: int, value: int) -> Tensor:
    missing = (0, width - tensor.shape[-1], 0, height - tensor.shape[-2])
    return functional.pad(tensor, missing, value=value) if any(missing) else tensor
