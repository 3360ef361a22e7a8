"""The boundary loss: the probability of a class times the distance to the class's outline."""

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from maskmill.canonical.categories import IGNORE_INDEX
from maskmill.losses.outputs import ClassOutputs
from maskmill.losses.semantic import Batch, Terms, Weight


class Boundary(nn.Module):
    """Probability times signed distance in px to the outline of the class.

    Kervadec et al., MIDL 2019 (arXiv:1812.07032), eq. 5. The mean over the labelled pixels and over
    the classes of their image that have an outline. It can be negative, and its gradient is 0 for
    classes that are not in the image: use it together with a region loss, as the authors do. The
    distances are computed on the CPU, and a GPU waits for them: about 20 ms per class present in
    an image of 512 x 512.

    Args:
        weight: factor of the term; the authors start with 0.01.

    Example:
        >>> logits = torch.zeros(1, 2, 1, 2)
        >>> target = torch.tensor([[[0, 1]]], dtype=torch.uint8)
        >>> Boundary(weight=1.0)({"semantic": logits}, {"semantic": target})
        {'boundary': tensor(0.2500)}
    """

    def __init__(self, weight: Weight = 0.01) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, outputs: ClassOutputs, batch: Batch) -> Terms:
        """The loss of `semantic` logits (B, K, H, W): one scalar, 0 if no class has an outline."""
        probs = outputs["semantic"].float().softmax(dim=1)
        distances = []
        num_counted = 0
        for target in batch["semantic"].cpu().numpy():
            distance, num_classes = signed_distances(target, probs.shape[1])
            distances.append(distance)
            num_counted += num_classes * int((target != IGNORE_INDEX).sum())
        if not distances:  # a batch without images
            return {"boundary": probs.sum()}
        weights = torch.from_numpy(np.stack(distances)).to(probs.device)  # (B, K, H, W)
        return {"boundary": self.weight * (probs * weights).sum() / max(num_counted, 1)}


def signed_distances(
    target: npt.NDArray[np.uint8], num_classes: int
) -> tuple[npt.NDArray[np.float32], int]:
    """The distance of each pixel to the outline of each class, as in the authors' code.

    Args:
        target: (H, W) class indices, 255 = ignored; an ignored pixel is neither inside nor outside.
        num_classes: K.

    Returns:
        (K, H, W) float32 in px: outside a class, the distance to its nearest pixel; inside it, 1
        minus the distance to the nearest pixel of another class; 0 where ignored and for a class
        without an outline. And the number of classes that have an outline.
    """
    distance = np.zeros((num_classes, *target.shape), np.float32)
    labelled = target != IGNORE_INDEX
    present = np.unique(target[labelled])
    if len(present) < 2:  # without a second class, there is no outline in the image
        return distance, 0
    for index in present:
        inside = target == index
        outside = labelled & ~inside
        distance[index] = _distance_to(inside) * outside - (_distance_to(outside) - 1) * inside
    return distance, len(present)


def _distance_to(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """The exact Euclidean distance of every pixel to the nearest pixel of a mask, not empty."""
    background = (~mask).astype(np.uint8)
    distance = cv2.distanceTransform(background, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance, np.float32)
