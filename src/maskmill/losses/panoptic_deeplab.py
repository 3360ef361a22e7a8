"""The losses of Panoptic-DeepLab (Cheng et al., CVPR 2020, arXiv:1911.10194, sec. 3.2), with targets made on the device."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskmill.canonical.categories import IGNORE_INDEX
from maskmill.losses.semantic import Batch, Terms

TRUNCATE = 3  # a Gaussian is drawn to this many sigmas


@dataclass(frozen=True)
class CenterTargets:
    """What the instance decoder learns: heatmap (B, 1, H, W) in 0..1, offset (B, 2, H, W) in px, and the pixels where each counts."""

    heatmap: Tensor
    offset: Tensor
    is_known: Tensor
    is_thing: Tensor


class PanopticDeepLabLoss(nn.Module):
    """Cross-entropy of classes, squared error of the centre heatmap, absolute error of the offsets of thing pixels.

    Args:
        semantic: the loss of the class logits.
        center_weight: of the heatmap's error; 200 in the paper.
        offset_weight: of the offsets' error; 0.01 in the paper.
        sigma_px: deviation of the Gaussian around a centre; 8 px in the paper, whose images are 1024 px high.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        semantic: nn.Module,
        *,
        center_weight: float = 200.0,
        offset_weight: float = 0.01,
        sigma_px: float = 8.0,
    ) -> None:
        super().__init__()
        if not (center_weight >= 0 and offset_weight >= 0 and sigma_px > 0):  # NaN is refused too
            raise ValueError(
                f"Expected `center_weight` and `offset_weight` of at least 0 and a positive `sigma_px`, "
                f"but got {center_weight}, {offset_weight} and {sigma_px} - mend conf/loss"
            )
        self.semantic, self.center_weight, self.offset_weight, self.sigma_px = (
            semantic,
            center_weight,
            offset_weight,
            sigma_px,
        )

    def forward(self, outputs: Mapping[str, Tensor], batch: Batch) -> Terms:
        """Outputs of the network against `semantic` and `instance` (B, H, W): the weighted terms, 0 where nothing is labelled."""
        targets = center_targets(batch["instance"], self.sigma_px)
        heat_error = (outputs["center"].float() - targets.heatmap).square() * targets.is_known
        offset_error = (outputs["offset"].float() - targets.offset).abs() * targets.is_thing
        terms: Terms = self.semantic(outputs, batch)
        return terms | {
            "center": self.center_weight * heat_error.sum() / targets.is_known.sum().clamp(min=1),
            "offset": self.offset_weight * offset_error.sum() / targets.is_thing.sum().clamp(min=1),
        }


class BootstrappedCrossEntropy(nn.Module):
    """Cross-entropy of the hardest pixels, those of small instances weighing more (sec. 3.2).

    Args:
        weight: factor of the term.
        hardest: share of the labelled pixels that count, those with the largest weighted loss; 0.15 in the paper.
        small_area_px: instances of fewer pixels are small; 64 x 64 in the paper.
        small_weight: of each of their pixels; 3 in the paper.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        weight: float = 1.0,
        *,
        hardest: float = 0.15,
        small_area_px: int = 4096,
        small_weight: float = 3.0,
    ) -> None:
        super().__init__()
        if not (
            weight >= 0 and small_weight >= 0 and small_area_px >= 0 and 0 < hardest <= 1
        ):  # NaN is refused too
            raise ValueError(
                f"Expected `weight`, `small_weight` and `small_area_px` of at least 0 and `hardest` in (0, 1], "
                f"but got {weight}, {small_weight}, {small_area_px} and {hardest} - mend conf/loss"
            )
        self.weight, self.hardest, self.small_area_px, self.small_weight = (
            weight,
            hardest,
            small_area_px,
            small_weight,
        )

    def forward(self, outputs: Mapping[str, Tensor], batch: Batch) -> Terms:
        """Logits (B, K, H, W) against `semantic` and `instance` (B, H, W): one scalar, 0 where no pixel is labelled."""
        target = batch["semantic"].long()
        loss = F.cross_entropy(
            outputs["semantic"].float(), target, ignore_index=IGNORE_INDEX, reduction="none"
        )  # (B, H, W)
        is_small = (batch["instance"] > 0) & (
            instance_areas(batch["instance"]) < self.small_area_px
        )
        loss = torch.where(is_small, self.small_weight, 1.0) * loss
        counted = max(1, round(self.hardest * int((target != IGNORE_INDEX).sum())))
        return {"cross_entropy": self.weight * loss.flatten().topk(counted).values.mean()}


def instance_areas(instance: Tensor) -> Tensor:
    """For each pixel of (B, H, W) int32 the pixels of its image with its number: (B, H, W) long; those of no known thing share one."""
    num = max(int(instance.max()), 0) + 1
    keys = instance.clamp(min=0).long() + num * torch.arange(
        len(instance), device=instance.device
    ).view(-1, 1, 1)
    return torch.bincount(keys.flatten(), minlength=len(instance) * num)[keys]


def center_targets(instance: Tensor, sigma_px: float) -> CenterTargets:
    """Draw what a map of things asks of centre and offset, for a whole batch at once.

    Args:
        instance: (B, H, W) int32: 1..N within each image, 0 no thing, -1 unknown.
        sigma_px: deviation of each Gaussian; overlapping ones keep the larger value.

    Returns:
        the targets, on the device of `instance`.
    """
    batch, height, width = instance.shape
    device = instance.device
    num = max(int(instance.max()), 0) + 1
    keys = (
        instance.clamp(min=0) + num * torch.arange(batch, device=device).view(-1, 1, 1)
    ).long()  # (B, H, W), unique over the batch
    y = (
        torch.arange(height, device=device, dtype=torch.float64)
        .view(1, -1, 1)
        .expand(batch, -1, width)
    )
    x = (
        torch.arange(width, device=device, dtype=torch.float64)
        .view(1, 1, -1)
        .expand(batch, height, -1)
    )
    flat = keys.reshape(-1)
    count = torch.bincount(flat, minlength=batch * num)
    center = torch.stack(
        [torch.bincount(flat, axis.reshape(-1), minlength=batch * num) for axis in (y, x)]
    )  # (2, B num)
    center = center / count.clamp(min=1)
    is_thing = (instance > 0).unsqueeze(1)  # (B, 1, H, W)
    offset = (
        center[:, flat].view(2, batch, height, width).transpose(0, 1) - torch.stack([y, x], dim=1)
    ).float() * is_thing
    present = (count > 0).view(batch, num)
    present[:, 0] = False  # 0 is no thing
    image, number = present.nonzero(as_tuple=True)
    heatmap = _gaussians(
        center[:, image * num + number].round().long(), image, (batch, height, width), sigma_px
    )
    return CenterTargets(heatmap, offset, (instance >= 0).unsqueeze(1), is_thing)


def _gaussians(
    center: Tensor, image: Tensor, shape: tuple[int, int, int], sigma_px: float
) -> Tensor:
    """Gaussians of height 1 at centres (2, N) of the images (N,), the larger where two meet: (B, 1, H, W)."""
    batch, height, width = shape
    radius = int(TRUNCATE * sigma_px + 0.5)
    step = torch.arange(-radius, radius + 1, device=center.device)
    bell = torch.exp(-(step.float() ** 2) / (2 * sigma_px**2))
    window = (bell.view(-1, 1) * bell.view(1, -1)).expand(len(image), -1, -1)  # (N, R, R)
    y = (center[0].view(-1, 1, 1) + step.view(1, -1, 1)).expand_as(window)
    x = (center[1].view(-1, 1, 1) + step.view(1, 1, -1)).expand_as(window)
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    place = (image.view(-1, 1, 1) * height + y) * width + x
    heatmap = torch.zeros(batch * height * width, device=center.device)
    heatmap.scatter_reduce_(
        0, place[inside], window[inside], reduce="amax"
    )  # the maximum does not depend on the order
    return heatmap.view(batch, 1, height, width)
