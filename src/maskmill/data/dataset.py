"""The samples of one split as tensors, and batches of samples."""

from typing import NotRequired, TypedDict

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from maskmill.canonical.categories import IGNORE_INDEX, Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.data.mixing import Seed, View, mixed
from maskmill.data.sampling import Draw
from maskmill.data.splits import Split
from maskmill.data.targets import UNKNOWN, encode_ids
from maskmill.data.transforms import Augmentation


class Sample(TypedDict):
    """One image and its targets.

    image: (3, H, W) uint8 RGB.
    semantic: (H, W) uint8, class index as in `data.targets`, 255 = ignored.
    instance: (H, W) int32, things 1..N, 0 = no thing, -1 = unknown.
    index: index of the image in its split.
    panoptic: only for evaluation, the ground truth with the data set's own ids, ids (H, W) int32.
    valid: only for evaluation, False for a repeat that must not be counted.
    """

    image: Tensor
    semantic: Tensor
    instance: Tensor
    index: int
    panoptic: NotRequired[Panoptic]
    valid: NotRequired[bool]


class Batch(TypedDict):
    """B samples, padded to the largest height H and the largest width W among them.

    image: (B, 3, H, W) uint8 RGB, padded with 0.
    semantic: (B, H, W) uint8, class index as in `data.targets`, 255 = ignored or padding.
    instance: (B, H, W) int32, things 1..N of each image, 0 = no thing, -1 = unknown or padding.
    size: B tuples, the height and width of each image before padding.
    index: B indices of the images in their split.
    panoptic: only for evaluation, B ground truths with the data set's own ids, without padding.
    valid: only for evaluation, B flags, False for a repeat that must not be counted.
    """

    image: Tensor
    semantic: Tensor
    instance: Tensor
    size: list[tuple[int, int]]
    index: list[int]
    panoptic: NotRequired[list[Panoptic]]
    valid: NotRequired[list[bool]]


class SegmentationDataset(Dataset[Sample]):
    """Images and targets of one split.

    Args:
        split: the stored samples, see `data.splits`.
        augmentation: applied to training samples. None leaves the images unchanged and adds the
            ground truth for metrics.
        seed: seed of the augmentation, combined with epoch, index and repeat.
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
            draw: the index in the split, and for training the epoch.

        Returns:
            image (3, H, W) uint8, semantic (H, W) uint8 and instance (H, W) int32 as in
            `data.targets`, and `index`; without augmentation also `panoptic` and `valid`.

        Raises:
            FileNotFoundError: a file does not exist.
            ValueError: a file cannot be decoded, or image and labels do not match.
        """
        draw = Draw(draw) if isinstance(draw, int) else draw
        if self.augmentation is None:
            return self._evaluation_sample(draw)
        return self._training_sample(draw, self.augmentation)

    def _evaluation_sample(self, draw: Draw) -> Sample:
        labelled = self.split[draw.sample]
        view = View(
            labelled.image, labelled.ids, labelled.category_of, labelled.crowds, labelled.name
        )
        sample = _sample(view, draw.sample, self.split.categories)
        sample["panoptic"] = labelled.panoptic()
        sample["valid"] = draw.valid
        return sample

    def _training_sample(self, draw: Draw, augmentation: Augmentation) -> Sample:
        seed: Seed = (self.seed, draw.epoch, draw.sample)
        if draw.repeat:
            seed = (*seed, draw.repeat)
        categories = self.split.categories

        def augmented(index: int, seed: Seed) -> View:
            labelled = self.split[index]
            image, ids = augmentation(labelled.image, labelled.ids, seed)
            return View(image, ids, labelled.category_of, labelled.crowds, labelled.name)

        view = (
            augmented(draw.sample, seed)
            if augmentation.mix is None
            else mixed(augmentation.mix, augmented, len(self), seed, categories)
        )
        return _sample(view, draw.sample, categories, min_area_px=augmentation.min_area_px)


def _sample(view: View, index: int, categories: Categories, *, min_area_px: int = 0) -> Sample:
    try:
        semantic, instance = encode_ids(
            view.ids, view.category_of, categories, crowds=view.crowds, min_area_px=min_area_px
        )
    except ValueError as error:
        raise ValueError(f"{view.name}: {error}") from error
    # (3, H, W): OpenCV separates the channels faster than a transposed copy does.
    planes = np.stack(cv2.split(view.image))
    return {
        "image": torch.from_numpy(planes),
        "semantic": torch.from_numpy(semantic),
        "instance": torch.from_numpy(instance),
        "index": index,
    }


def collate(samples: list[Sample]) -> Batch:
    """Stack samples to a batch. Smaller images are padded at the right and at the bottom."""
    sizes = [_size(sample["image"]) for sample in samples]
    height = max(size[0] for size in sizes)
    width = max(size[1] for size in sizes)
    images: list[Tensor] = []
    semantic: list[Tensor] = []
    instance: list[Tensor] = []
    for sample in samples:
        images.append(_pad(sample["image"], height, width, 0))
        semantic.append(_pad(sample["semantic"], height, width, IGNORE_INDEX))
        instance.append(_pad(sample["instance"], height, width, UNKNOWN))
    batch: Batch = {
        "image": torch.stack(images),
        "semantic": torch.stack(semantic),
        "instance": torch.stack(instance),
        "size": sizes,
        "index": [sample["index"] for sample in samples],
    }
    if "panoptic" in samples[0]:
        batch["panoptic"] = [sample["panoptic"] for sample in samples]
        batch["valid"] = [sample["valid"] for sample in samples]
    return batch


def _size(image: Tensor) -> tuple[int, int]:
    _, height, width = image.shape
    return int(height), int(width)


def _pad(tensor: Tensor, height: int, width: int, value: int) -> Tensor:
    """Extend (..., h, w) to (..., H, W)."""
    missing = (0, width - tensor.shape[-1], 0, height - tensor.shape[-2])
    return functional.pad(tensor, missing, value=value) if any(missing) else tensor
