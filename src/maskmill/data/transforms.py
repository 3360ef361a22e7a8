"""Augmentation of an image together with its segment ids; with `data.scale_jitter` the only place that knows albumentations."""

from collections.abc import Sequence

import albumentations
import cv2
import numpy as np
import numpy.typing as npt

from maskmill.canonical.png import RGB
from maskmill.data.mixing import Mix


class Augmentation:
    """Apply albumentations transforms to an image and its segment ids at once.

    Only the id map is moved; classes follow from the ids afterwards, so the two cannot part. What a transform uncovers becomes void.

    Args:
        transforms: albumentations transforms in order; crops should end at the configured crop size, so that samples can be stacked.
        min_area_px: a thing of which a crop leaves fewer pixels keeps its class, but teaches no centre (see `data.targets`).
        mix: makes one sample of several augmented ones (see `data.mixing`); the dataset, which has the others, calls it.

    Raises:
        ValueError: a transform averages the values of masks or is no albumentations transform, or `min_area_px` is negative.
    """

    def __init__(
        self,
        transforms: Sequence[albumentations.BasicTransform | albumentations.BaseCompose],
        min_area_px: int = 16,
        mix: Mix | None = None,
    ) -> None:
        if min_area_px < 0:
            raise ValueError(
                f"Expected argument `min_area_px` of 0 and above, but got {min_area_px}"
            )
        if not all(
            isinstance(transform, albumentations.BasicTransform | albumentations.BaseCompose)
            for transform in transforms
        ):
            raise ValueError(
                f"Expected argument `transforms` to hold albumentations transforms, but got {list(transforms)}"
            )
        interpolating = [
            type(transform).__name__ for transform in transforms if _interpolates_masks(transform)
        ]
        if interpolating:
            raise ValueError(
                f"Expected transforms that keep segment ids, but {interpolating} average masks - set mask_interpolation: 0"
            )
        self.min_area_px, self.mix = min_area_px, mix
        self._compose = albumentations.Compose(list(transforms))

    def __call__(
        self, image: RGB, ids: npt.NDArray[np.int32], seed: Sequence[int]
    ) -> tuple[RGB, npt.NDArray[np.int32]]:
        """Augment one sample.

        Args:
            image: (H, W, 3) uint8 RGB.
            ids: (H, W) int32 segment ids.
            seed: whatever names this draw, as (seed, epoch, index): the result depends on it and on nothing else.

        Returns:
            image (H', W', 3) uint8 and ids (H', W') int32; ids that left the picture are gone.
        """
        self._compose.set_random_seed(int(np.random.SeedSequence(list(seed)).generate_state(1)[0]))
        moved = self._compose(image=image, mask=ids)
        return np.ascontiguousarray(moved["image"]), np.ascontiguousarray(
            moved["mask"], dtype=np.int32
        )


def _interpolates_masks(
    transform: albumentations.BasicTransform | albumentations.BaseCompose,
) -> bool:
    inner = getattr(transform, "transforms", ())
    return getattr(transform, "mask_interpolation", cv2.INTER_NEAREST) != cv2.INTER_NEAREST or any(
        map(_interpolates_masks, inner)
    )
