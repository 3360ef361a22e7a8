"""Augmentation of an image together with its segment ids; the only place that knows albumentations."""

import os
from collections.abc import Sequence

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # importing it asks the network for a newer version otherwise

import albumentations
import numpy as np
import numpy.typing as npt

from maskmill.canonical.panoptic import VOID_ID
from maskmill.canonical.png import RGB


class Augmentation:
    """Apply albumentations transforms to an image and its segment ids at once.

    Only the id map is moved; classes follow from the ids afterwards, so the two cannot part. What a transform uncovers becomes void.

    Args:
        transforms: albumentations transforms in order; crops should end at the configured crop size, so that samples can be stacked.
        min_area_px: a thing of which a crop leaves fewer pixels keeps its class, but teaches no centre (see `data.targets`).

    Raises:
        ValueError: a transform changes pixel values of masks or is no albumentations transform, or `min_area_px` is negative.
    """

    def __init__(self, transforms: Sequence[albumentations.BasicTransform | albumentations.BaseCompose], min_area_px: int = 16) -> None:
        if min_area_px < 0:
            raise ValueError(f"Expected argument `min_area_px` of 0 and above, but got {min_area_px}")
        if not all(isinstance(transform, albumentations.BasicTransform | albumentations.BaseCompose) for transform in transforms):
            raise ValueError(f"Expected argument `transforms` to hold albumentations transforms, but got {list(transforms)}")
        self.min_area_px = min_area_px
        self._compose = albumentations.Compose(list(transforms))

    def __call__(self, image: RGB, ids: npt.NDArray[np.int32], seed: Sequence[int]) -> tuple[RGB, npt.NDArray[np.int32]]:
        """Augment one sample.

        Args:
            image: (H, W, 3) uint8 RGB.
            ids: (H, W) int32 segment ids.
            seed: whatever names this draw, as (seed, epoch, index): the result depends on it and on nothing else.

        Returns:
            image (H', W', 3) uint8 and ids (H', W') int32; ids that left the picture are gone.

        Raises:
            ValueError: the transforms invent ids, as an interpolating one would.
        """
        self._compose.set_random_seed(int(np.random.SeedSequence(list(seed)).generate_state(1)[0]))
        moved = self._compose(image=image, mask=ids)
        new_image, new_ids = moved["image"], moved["mask"]
        known = np.append(np.unique(ids), VOID_ID)
        if not np.isin(new_ids, known).all():
            raise ValueError("Expected the augmentation to keep segment ids, but it made new ones - use nearest interpolation for masks")
        return np.ascontiguousarray(new_image), np.ascontiguousarray(new_ids, dtype=np.int32)
