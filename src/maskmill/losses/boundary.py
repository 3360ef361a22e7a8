"""The boundary loss: how far from the true outline the probability of a class lies."""

from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from maskmill.canonical.categories import IGNORE_INDEX
from maskmill.losses.semantic import Batch, Terms


class Boundary(nn.Module):
    """Probability times signed distance to the class's outline, in px (Kervadec et al., MIDL 2019, arXiv:1812.07032, eq. 5).

    The mean over labelled pixels and over the classes of their image that have an outline there. It may be negative, and it is flat
    for classes not in the image: use it beside a loss of regions, as the authors do. The distances are found on the CPU, for which a GPU
    waits: some 20 ms per class present in an image of 512 x 512.

    Args:
        weight: factor of the term; the authors begin with 0.01.

    Raises:
        ValueError: a negative weight.
    """

    def __init__(self, weight: float = 0.01) -> None:
        super().__init__()
        if not weight >= 0:  # NaN is refused too
            raise ValueError(
                f"Expected argument `weight` of at least 0, but got {weight} - mend conf/loss"
            )
        self.weight = weight

    def forward(self, outputs: Mapping[str, Tensor], batch: Batch) -> Terms:
        """Logits (B, K, H, W) against `semantic` (B, H, W) uint8: one scalar, 0 where no class has an outline."""
        probs = outputs["semantic"].float().softmax(dim=1)
        targets = batch["semantic"].cpu().numpy()
        found = [signed_distances(target, probs.shape[1]) for target in targets]
        distance = torch.from_numpy(np.stack([each for each, _ in found])).to(
            probs.device
        )  # (B, K, H, W), 0 where nothing counts
        counted = sum(
            num_classes * int((target != IGNORE_INDEX).sum())
            for target, (_, num_classes) in zip(targets, found, strict=True)
        )
        return {"boundary": self.weight * (probs * distance).sum() / max(counted, 1)}


def signed_distances(
    target: npt.NDArray[np.uint8], num_classes: int
) -> tuple[npt.NDArray[np.float32], int]:
    """Distance of each pixel to the outline of each class, counted as the authors' code does.

    Args:
        target: (H, W) class indices, 255 ignored: an unknown pixel is neither inside nor outside.
        num_classes: K.

    Returns:
        (K, H, W) float32: outside a class the distance in px to its nearest pixel; inside minus that to the nearest pixel of another class,
        plus 1; 0 where ignored and for a class without an outline. And the number of classes that have one.
    """
    distance = np.zeros((num_classes, *target.shape), np.float32)
    labelled = target != IGNORE_INDEX
    present = np.unique(target[labelled])
    if len(present) < 2:  # nothing, or one class alone, which ends nowhere in view
        return distance, 0
    for index in present:
        inside = target == index
        outside = labelled & ~inside
        distance[index] = _distance_to(inside) * outside - (_distance_to(outside) - 1) * inside
    return distance, len(present)


def _distance_to(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Exact Euclidean distance of every pixel to the nearest one of the mask, which is not empty."""
    return np.asarray(
        cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE),
        np.float32,
    )
