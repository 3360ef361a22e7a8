"""Boundary IoU of classes over a whole data set (Cheng et al., CVPR 2021, arXiv:2103.16562)."""

import cv2
import numpy as np
import numpy.typing as npt

from maskmill.metrics.functional.confusion_matrix import class_areas, index_confusion
from maskmill.metrics.functional.masks import boundary_distance

ClassMap = npt.NDArray[np.uint8]


def on_boundary(classes: ClassMap, distance: int) -> npt.NDArray[np.bool_]:
    """Pixels within `distance` of another class or of the image's edge (H, W): the boundaries of all classes at once.

    A pixel is left over when its class's mask is eroded by a square of 2 distance + 1 exactly where the square holds no other value, so
    one minimum and one maximum filter do for any number of classes.
    """
    square = np.ones((2 * distance + 1,) * 2, np.uint8)
    boundary: npt.NDArray[np.bool_] = cv2.erode(classes, square) != cv2.dilate(classes, square)
    boundary[:distance], boundary[-distance:], boundary[:, :distance], boundary[:, -distance:] = (
        True,
        True,
        True,
        True,
    )
    return boundary


def boundary_areas(
    pred: ClassMap, target: ClassMap, num_classes: int, *, background: bool
) -> npt.NDArray[np.int64]:
    """Boundary pixels that prediction and target have in common, and those of either, per class.

    Args:
        pred: (H, W) class indices 0..K-1, K where nothing was predicted.
        target: (H, W), K where unlabelled.
        num_classes: K.
        background: unlabelled target pixels are background and count; void ones are left out of both boundaries.

    Returns:
        (K, 2) int64: intersection and union in pixels; add them up over images.
    """
    distance = boundary_distance(*target.shape)
    counted = np.True_ if background else target != num_classes
    true, guess = (
        np.where(on_boundary(classes, distance) & counted, classes, np.uint8(num_classes))
        for classes in (target, pred)
    )
    right, union = class_areas(index_confusion(guess, true, num_classes), background=True)
    return np.stack([right, union], axis=1)
