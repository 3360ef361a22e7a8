"""Augmentation of an image and its segment ids.

Only this module and `data.scale_jitter` use albumentations.
"""

from collections.abc import Sequence
from typing import Annotated, TypeAlias

import albumentations
import cv2
import numpy as np
import numpy.typing as npt
from annotated_types import Ge

from maskmill.canonical.png import RGB
from maskmill.data.mixing import Mix

Transform: TypeAlias = albumentations.BasicTransform | albumentations.BaseCompose


class Augmentation:
    """Albumentations transforms, applied to an image and its segment ids together.

    Only the id map is transformed. Classes are derived from the ids afterwards, so the two always
    match. Pixels that a transform uncovers become void.

    Args:
        transforms: albumentations transforms in order; the last one should crop to the configured
            size, so that samples can be stacked.
        min_area_px: a thing with fewer pixels after the crop keeps its class, but is unknown as an
            instance (see `data.targets`).
        mix: combines several augmented samples into one (see `data.mixing`). The dataset applies
            it, since it can read the other samples.

    Raises:
        ValueError: a transform is not of albumentations, or it interpolates masks.
    """

    def __init__(
        self,
        transforms: Sequence[Transform],
        min_area_px: Annotated[int, Ge(0)] = 16,
        mix: Mix | None = None,
    ) -> None:
        for transform in transforms:
            _check_transform(transform)
        self.min_area_px = min_area_px
        self.mix = mix
        self._compose = albumentations.Compose(list(transforms))

    def __call__(
        self, image: RGB, ids: npt.NDArray[np.int32], seed: Sequence[int]
    ) -> tuple[RGB, npt.NDArray[np.int32]]:
        """Augment one sample.

        Args:
            image: (H, W, 3) uint8 RGB.
            ids: (H, W) int32 segment ids.
            seed: identifies the draw, such as (seed, epoch, index); the result depends on nothing
                else.

        Returns:
            image (H', W', 3) uint8 and ids (H', W') int32; segments outside the crop are gone.
        """
        compose_seed = np.random.SeedSequence(list(seed)).generate_state(1)[0]
        self._compose.set_random_seed(int(compose_seed))
        augmented = self._compose(image=image, mask=ids)
        new_image = np.ascontiguousarray(augmented["image"])
        new_ids = np.ascontiguousarray(augmented["mask"], dtype=np.int32)
        return new_image, new_ids


def _check_transform(transform: Transform) -> None:
    if not isinstance(transform, Transform):
        raise ValueError(
            f"Expected `transforms` to be albumentations transforms, but got {transform!r} - "
            "check conf/augment"
        )
    if _interpolates_masks(transform):
        raise ValueError(
            f"Expected transforms that keep segment ids, but {type(transform).__name__} "
            "interpolates masks - set mask_interpolation: 0"
        )


def _interpolates_masks(transform: Transform) -> bool:
    interpolation = getattr(transform, "mask_interpolation", cv2.INTER_NEAREST)
    inner = getattr(transform, "transforms", ())
    return interpolation != cv2.INTER_NEAREST or any(map(_interpolates_masks, inner))
