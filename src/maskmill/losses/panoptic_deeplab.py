"""The losses of Panoptic-DeepLab, whose targets are computed on the device.

Cheng et al., CVPR 2020 (arXiv:1911.10194), sec. 3.2.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.nn import functional as F

from maskmill.canonical.categories import IGNORE_INDEX
from maskmill.losses.outputs import ClassOutputs, InstanceOutputs
from maskmill.losses.semantic import Batch, Fraction, Terms, Weight, mean_of_hardest

TRUNCATE = 3  # a Gaussian is drawn up to this many sigmas


@dataclass(frozen=True)
class CenterTargets:
    """The targets of the instance decoder.

    Args:
        heatmap: (B, 1, H, W) float32 in 0..1, a Gaussian at the centre of each thing.
        offset: (B, 2, H, W) float32 in px, from each thing pixel to its centre (y, x); 0 elsewhere.
        is_known: (B, 1, H, W) bool, where the heatmap is counted.
        is_thing: (B, 1, H, W) bool, where the offset is counted.
    """

    heatmap: Tensor
    offset: Tensor
    is_known: Tensor
    is_thing: Tensor


class PanopticDeepLabLoss(nn.Module):
    """A loss of the classes, squared error of the centre heatmap, absolute error of the offsets.

    Args:
        semantic: the loss of the class logits.
        center_weight: factor of the heatmap's error; 200 in the paper.
        offset_weight: factor of the offsets' error; 0.01 in the paper.
        sigma_px: standard deviation of the Gaussian around a centre; 8 px in the paper, whose
            images are 1024 px high.

    Example:
        >>> from maskmill.losses.semantic import CrossEntropy
        >>> instance = torch.ones(1, 1, 3, dtype=torch.int32)
        >>> targets = center_targets(instance, sigma_px=8.0)
        >>> outputs = {"semantic": torch.zeros(1, 2, 1, 3), "center": targets.heatmap}
        >>> outputs["offset"] = torch.zeros(1, 2, 1, 3)
        >>> batch = {"semantic": instance.to(torch.uint8), "instance": instance}
        >>> PanopticDeepLabLoss(CrossEntropy(), offset_weight=1.0)(outputs, batch)
        {'cross_entropy': tensor(0.6931), 'center': tensor(0.), 'offset': tensor(0.6667)}
    """

    def __init__(
        self,
        semantic: nn.Module,
        *,
        center_weight: Weight = 200.0,
        offset_weight: Weight = 0.01,
        sigma_px: Annotated[float, Gt(0)] = 8.0,
    ) -> None:
        super().__init__()
        self.semantic = semantic
        self.center_weight = center_weight
        self.offset_weight = offset_weight
        self.sigma_px = sigma_px

    def forward(self, outputs: InstanceOutputs, batch: Batch) -> Terms:
        """The weighted terms, 0 if nothing is labelled.

        Args:
            outputs: `center` (B, 1, H, W), `offset` (B, 2, H, W) and what `semantic` reads.
            batch: `semantic` and `instance` (B, H, W).

        Returns:
            the terms of the semantic loss, `center` and `offset`.
        """
        targets = center_targets(batch["instance"], self.sigma_px)
        heatmap_error = (outputs["center"].float() - targets.heatmap).square() * targets.is_known
        offset_error = (outputs["offset"].float() - targets.offset).abs() * targets.is_thing
        num_known = targets.is_known.sum().clamp(min=1)
        num_thing = targets.is_thing.sum().clamp(min=1)
        terms: Terms = self.semantic(outputs, batch)
        terms["center"] = self.center_weight * heatmap_error.sum() / num_known
        terms["offset"] = self.offset_weight * offset_error.sum() / num_thing
        return terms


class BootstrappedCrossEntropy(nn.Module):
    """Cross-entropy of the hardest pixels, with more weight on small instances (sec. 3.2).

    Args:
        weight: factor of the term.
        hardest: fraction of the labelled pixels that are counted, those with the largest weighted
            loss; 0.15 in the paper.
        small_area_px: instances of fewer pixels are small; 64 x 64 in the paper.
        small_weight: weight of their pixels; 3 in the paper.

    Example:
        >>> outputs = {"semantic": torch.zeros(1, 2, 1, 2)}
        >>> instance = torch.tensor([[[1, 0]]], dtype=torch.int32)
        >>> batch = {"semantic": instance.to(torch.uint8), "instance": instance}
        >>> BootstrappedCrossEntropy(hardest=0.5, small_weight=3.0)(outputs, batch)
        {'cross_entropy': tensor(2.0794)}
    """

    def __init__(
        self,
        weight: Weight = 1.0,
        *,
        hardest: Fraction = 0.15,
        small_area_px: Annotated[int, Ge(0)] = 4096,
        small_weight: Weight = 3.0,
    ) -> None:
        super().__init__()
        self.weight = weight
        self.hardest = hardest
        self.small_area_px = small_area_px
        self.small_weight = small_weight

    def forward(self, outputs: ClassOutputs, batch: Batch) -> Terms:
        """The loss of `semantic` logits (B, K, H, W): one scalar, 0 if no pixel is labelled."""
        target = batch["semantic"].long()
        loss = F.cross_entropy(
            outputs["semantic"].float(), target, ignore_index=IGNORE_INDEX, reduction="none"
        )  # (B, H, W)
        is_thing = batch["instance"] > 0
        is_small = is_thing & (instance_areas(batch["instance"]) < self.small_area_px)
        loss = torch.where(is_small, self.small_weight, 1.0) * loss
        return {"cross_entropy": self.weight * mean_of_hardest(loss, target, self.hardest)}


def instance_areas(instance: Tensor) -> Tensor:
    """The area of each pixel's instance in its own image.

    Args:
        instance: (B, H, W) int32: 1..N within each image, 0 no thing, -1 unknown.

    Returns:
        (B, H, W) long in px; pixels of no thing and unknown ones are counted together.
    """
    batch = len(instance)
    keys, num_ids = _batch_keys(instance)
    areas = torch.bincount(keys.flatten(), minlength=batch * num_ids)
    return areas[keys]


def _batch_keys(instance: Tensor) -> tuple[Tensor, int]:
    """Ids that are unique over the batch (B, H, W) long, and how many each image may have."""
    num_ids = 1 if not instance.numel() else max(int(instance.max()), 0) + 1
    image = torch.arange(len(instance), device=instance.device).view(-1, 1, 1)
    return instance.clamp(min=0).long() + num_ids * image, num_ids


def center_targets(instance: Tensor, sigma_px: float) -> CenterTargets:
    """Compute the heatmap and the offsets of a whole batch at once.

    Args:
        instance: (B, H, W) int32: 1..N within each image, 0 no thing, -1 unknown.
        sigma_px: standard deviation of each Gaussian; where Gaussians overlap, the larger value
            counts.

    Returns:
        the targets, on the device of `instance`.
    """
    batch, height, width = instance.shape
    keys, num_ids = _batch_keys(instance)
    flat_keys = keys.reshape(-1)
    y = _coordinates(height, instance.device).view(1, -1, 1).expand(batch, -1, width)
    x = _coordinates(width, instance.device).view(1, 1, -1).expand(batch, height, -1)
    areas = torch.bincount(flat_keys, minlength=batch * num_ids)
    sum_y = torch.bincount(flat_keys, y.reshape(-1), minlength=batch * num_ids)
    sum_x = torch.bincount(flat_keys, x.reshape(-1), minlength=batch * num_ids)
    center = torch.stack([sum_y, sum_x]) / areas.clamp(min=1)  # (2, B * num_ids)
    center_of_pixel = center[:, flat_keys].view(2, batch, height, width).transpose(0, 1)
    is_thing = (instance > 0).unsqueeze(1)  # (B, 1, H, W)
    offset = (center_of_pixel - torch.stack([y, x], dim=1)).float() * is_thing  # (B, 2, H, W)
    is_present = (areas > 0).view(batch, num_ids)
    is_present[:, 0] = False  # 0 is no thing
    image, thing = is_present.nonzero(as_tuple=True)  # (N,) each
    center_px = center[:, image * num_ids + thing].round().long()  # (2, N)
    heatmap = _gaussians(center_px, image, (batch, height, width), sigma_px)
    return CenterTargets(heatmap, offset, (instance >= 0).unsqueeze(1), is_thing)


def _coordinates(length: int, device: torch.device) -> Tensor:
    return torch.arange(length, device=device, dtype=torch.float64)


def _gaussians(
    center: Tensor, image: Tensor, shape: tuple[int, int, int], sigma_px: float
) -> Tensor:
    """Draw Gaussians of height 1; where they overlap, the larger value counts.

    Args:
        center: (2, N) long, y and x in px.
        image: (N,), the image of each centre.
        shape: B, H, W.
        sigma_px: standard deviation.

    Returns:
        (B, 1, H, W) float32.
    """
    batch, height, width = shape
    radius = int(TRUNCATE * sigma_px + 0.5)
    step = torch.arange(-radius, radius + 1, device=center.device)
    bell = torch.exp(-(step.float() ** 2) / (2 * sigma_px**2))
    window = (bell.view(-1, 1) * bell.view(1, -1)).expand(len(image), -1, -1)  # (N, R, R)
    y = (center[0].view(-1, 1, 1) + step.view(1, -1, 1)).expand_as(window)
    x = (center[1].view(-1, 1, 1) + step.view(1, 1, -1)).expand_as(window)
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    index = (image.view(-1, 1, 1) * height + y) * width + x
    heatmap = torch.zeros(batch * height * width, device=center.device)
    # A maximum does not depend on the order.
    heatmap.scatter_reduce_(0, index[inside], window[inside], reduce="amax")
    return heatmap.view(batch, 1, height, width)
