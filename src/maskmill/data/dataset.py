"""One canonical split as samples, and samples as batches."""

from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from maskmill.canonical.categories import IGNORE_INDEX, Categories
from maskmill.data.mixing import Seed, View, mixed
from maskmill.data.sampling import Draw
from maskmill.data.splits import Split
from maskmill.data.targets import UNKNOWN, encode_ids
from maskmill.data.transforms import Augmentation

Sample = dict[str, Any]
Batch = dict[str, Any]


class SegmentationDataset(Dataset[Sample]):
    """Images and targets of one split.

    Args:
        split: the samples as they lie on disk, see `data.splits`.
        augmentation: what training sees; None leaves images as they are and adds the truth for metrics.
        seed: of the augmentation, together with epoch and index.
    """

    def __init__(
        self, split: Split, *, augmentation: Augmentation | None = None, seed: int = 0
    ) -> None:
        self.split = split
        self.augmentation = augmentation
        self.seed = seed

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, draw: Draw | int) -> Sample:
        """One sample.

        Args:
            draw: the place in the split, and for training the epoch.

        Returns:
            image (3, H, W) uint8, semantic (H, W) uint8 and instance (H, W) int32 as in `data.targets`, `index` (the place);
            without augmentation also `panoptic` (the truth with the data set's own ids) and `valid` (False for a repeat).

        Raises:
            FileNotFoundError: a file is not there.
            ValueError: a file does not decode, or image and labels do not belong together.
        """
        draw = Draw(draw) if isinstance(draw, int) else draw
        if self.augmentation is None:
            labelled = self.split[draw.sample]
            view = View(
                labelled.image, labelled.ids, labelled.category_of, labelled.crowds, labelled.name
            )
            truth = {"panoptic": labelled.panoptic(), "valid": draw.valid}
            return _tensors(view, self.split.categories) | truth | {"index": draw.sample}
        seed = (self.seed, draw.epoch, draw.sample)
        mix = self.augmentation.mix
        view = (
            self._view(draw.sample, seed)
            if mix is None
            else mixed(mix, self._view, len(self), seed, self.split.categories)
        )
        return _tensors(view, self.split.categories, min_area_px=self.augmentation.min_area_px) | {
            "index": draw.sample
        }

    def _view(self, sample: int, seed: Seed) -> View:
        """One augmented sample by itself."""
        assert self.augmentation is not None
        labelled = self.split[sample]
        return View(
            *self.augmentation(labelled.image, labelled.ids, seed),
            labelled.category_of,
            labelled.crowds,
            labelled.name,
        )


def _tensors(view: View, categories: Categories, *, min_area_px: int = 0) -> Sample:
    """Image and targets."""
    try:
        semantic, instance = encode_ids(
            view.ids, view.category_of, categories, crowds=view.crowds, min_area_px=min_area_px
        )
    except ValueError as error:
        raise ValueError(f"{view.name}: {error}") from error
    planes = np.stack(
        cv2.split(view.image)
    )  # (3, H, W): OpenCV takes pixels apart faster than a transposed copy does
    return {
        "image": torch.from_numpy(planes),
        "semantic": torch.from_numpy(semantic),
        "instance": torch.from_numpy(instance),
    }


def collate(samples: list[Sample]) -> Batch:
    """Stack samples to a batch; smaller ones are padded right and below with black and unknown labels.

    Args:
        samples: of `SegmentationDataset`.

    Returns:
        image (B, 3, H, W) uint8, semantic (B, H, W) uint8, instance (B, H, W) int32, `size`: (h, w) of each before padding, the
        list `index`; for evaluation also the lists `panoptic` and `valid`.
    """
    sizes = [(int(sample["image"].shape[1]), int(sample["image"].shape[2])) for sample in samples]
    height, width = max(size[0] for size in sizes), max(size[1] for size in sizes)
    fills = {"image": 0, "semantic": IGNORE_INDEX, "instance": UNKNOWN}
    batch: Batch = {
        key: torch.stack([_pad(sample[key], height, width, fill) for sample in samples])
        for key, fill in fills.items()
    }
    lists = {
        key: [sample[key] for sample in samples]
        for key in ("panoptic", "valid", "index")
        if key in samples[0]
    }
    return batch | {"size": sizes} | lists


def _pad(tensor: Tensor, height: int, width: int, value: int) -> Tensor:
    missing = (0, width - tensor.shape[-1], 0, height - tensor.shape[-2])
    return functional.pad(tensor, missing, value=value) if any(missing) else tensor
