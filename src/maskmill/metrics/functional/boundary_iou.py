"""Boundary IoU of classes over a whole data set (Cheng et al., CVPR 2021, arXiv:2103.16562)."""

import cv2
import numpy as np
import numpy.typing as npt

from maskmill.metrics.functional.confusion_matrix import class_areas, index_confusion
from maskmill.metrics.functional.mask_runs import boundary_distance

ClassMap = npt.NDArray[np.uint8]


def on_boundary(classes: ClassMap, distance: int) -> npt.NDArray[np.bool_]:
    """Pixels within `distance` of another class or of the image's edge: those of all boundaries.

    Args:
        classes: (H, W) class indices.
        distance: in pixels.

    Returns:
        (H, W) bool.
    """
    # for each class:  boundary |= mask & ~erode(mask, square)
    # A pixel survives this erosion exactly where the square contains a single value, so one
    # minimum and one maximum filter are enough for any number of classes.
    if 2 * distance >= min(classes.shape):  # every pixel is near an edge, as in 1 x 9,000 pixels
        return np.ones(classes.shape, bool)
    square = np.ones((2 * distance + 1, 2 * distance + 1), np.uint8)
    boundary: npt.NDArray[np.bool_] = cv2.erode(classes, square) != cv2.dilate(classes, square)
    boundary[:distance] = True
    boundary[-distance:] = True
    boundary[:, :distance] = True
    boundary[:, -distance:] = True
    return boundary


def boundary_areas(
    pred: ClassMap, target: ClassMap, num_classes: int, *, background: bool
) -> npt.NDArray[np.int64]:
    """Boundary pixels in the intersection and in the union of prediction and target, per class.

    Args:
        pred: (H, W) class indices 0..K-1, K where nothing was predicted.
        target: (H, W) class indices 0..K-1, K where unlabelled.
        num_classes: K.
        background: unlabelled target pixels are background and count; void ones are left out of
            both boundaries.

    Returns:
        (K, 2) int64: intersection and union in pixels; add them up over images.
    """
    distance = boundary_distance(*target.shape)
    counted = np.True_ if background else target != num_classes
    void = np.uint8(num_classes)
    target_boundary = np.where(on_boundary(target, distance) & counted, target, void)
    pred_boundary = np.where(on_boundary(pred, distance) & counted, pred, void)
    matrix = index_confusion(pred_boundary, target_boundary, num_classes)
    intersection, union = class_areas(matrix, background=True)
    return np.stack([intersection, union], axis=1)
