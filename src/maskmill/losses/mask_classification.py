"""The loss of mask classification: queries are matched to segments, masks learned at points.

Cheng et al., Mask2Former, CVPR 2022 (arXiv:2112.01527), sec. 3.3.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.nn import functional as F

from maskmill.canonical.categories import IGNORE_INDEX
from maskmill.losses.assignment import match
from maskmill.losses.outputs import MaskOutputs
from maskmill.losses.points import labels_at, logits_at, uncertain_points
from maskmill.losses.semantic import Batch, Fraction, Terms, Weight

VOID = -1  # in a map of segments: a pixel that is counted neither for nor against any segment


@dataclass(frozen=True)
class Segments:
    """The target segments of a batch.

    Args:
        of_pixel: (B, H, W) long: the segment's index within its image, from 0; `VOID` where the
            segment is unknown.
        classes: (B, N) long: the class of each segment, padded with -1 if an image has fewer
            than N.
    """

    of_pixel: Tensor
    classes: Tensor


@dataclass(frozen=True)
class Predictions:
    """Class and mask logits of queries.

    Args:
        classes: (B, Q, K + 1), the last class is "no object".
        masks: (B, Q, h, w).
    """

    classes: Tensor
    masks: Tensor


class MaskClassificationLoss(nn.Module):
    """Class cross-entropy of all queries, and mask cross-entropy and Dice of the matched ones.

    Void pixels are never counted.

    Args:
        class_weight: factor of the class cross-entropy; 2 in the paper.
        mask_weight: factor of the mask cross-entropy; 5 in the paper.
        dice_weight: factor of the masks' Dice; 5 in the paper.
        no_object_weight: weight of a query without a segment in the class cross-entropy; 0.1 in
            the paper.
        num_points: points sampled per mask, from three times as many candidates; 12544 in the
            paper for images of 1024 px.
        separate_things: each thing is a segment; False merges all things of a class into one mask,
            as the semantic task needs.

    Example:
        >>> outputs = {"class_logits": torch.zeros(1, 2, 2), "mask_logits": torch.zeros(1, 2, 4, 4)}
        >>> labels = torch.zeros(1, 8, 8, dtype=torch.int32)
        >>> batch = {"semantic": labels.to(torch.uint8), "instance": labels}
        >>> terms = MaskClassificationLoss(num_points=4).eval()(outputs, batch)
        >>> {name: round(term.item(), 3) for name, term in terms.items()}
        {'class': 1.386, 'mask': 3.466, 'dice': 1.429}
    """

    def __init__(
        self,
        *,
        class_weight: Weight = 2.0,
        mask_weight: Weight = 5.0,
        dice_weight: Weight = 5.0,
        no_object_weight: Fraction = 0.1,
        num_points: Annotated[int, Ge(4)] = 12544,
        separate_things: bool = True,
    ) -> None:
        super().__init__()
        self.weights = {"class": class_weight, "mask": mask_weight, "dice": dice_weight}
        self.no_object_weight = no_object_weight
        self.num_points = num_points
        self.separate_things = separate_things

    def forward(self, outputs: MaskOutputs, batch: Batch) -> Terms:
        """The weighted terms, 0 if nothing is labelled.

        Args:
            outputs: `class_logits` (B, Q, K + 1), `mask_logits` (B, Q, h, w), and in training
                `aux_class_logits` (L, B, Q, K + 1) and `aux_mask_logits` (L, B, Q, h, w) of the
                inner layers.
            batch: `semantic` and `instance` (B, H, W).

        Returns:
            `class`, `mask` and `dice`; and `auxiliary`, the sum of the inner layers' terms, if the
            outputs contain inner layers.
        """
        segments = segments_of(
            batch["semantic"], batch["instance"], separate_things=self.separate_things
        )
        # In evaluation, the points must not depend on what was drawn before.
        device = segments.of_pixel.device
        generator = None if self.training else torch.Generator(device).manual_seed(0)
        classes = outputs["class_logits"].float()[None]
        masks = outputs["mask_logits"].float()[None]
        if "aux_class_logits" in outputs:  # the final layer comes first: (L, B, Q, ...)
            classes = torch.cat([classes, outputs["aux_class_logits"].float()])
            masks = torch.cat([masks, outputs["aux_mask_logits"].float()])
        terms_of_layers = self._terms(classes, masks, segments, generator)  # (L,) each
        terms = {name: values[0] for name, values in terms_of_layers.items()}
        if len(classes) > 1:
            inner_sums = [values[1:].sum() for values in terms_of_layers.values()]
            terms["auxiliary"] = torch.stack(inner_sums).sum()
        return terms

    def _terms(
        self, classes: Tensor, masks: Tensor, segments: Segments, generator: torch.Generator | None
    ) -> Terms:
        """The weighted terms (L,) of L layers, each with its own matching."""
        num_layers, batch = classes.shape[:2]
        # Layers are treated as further images: (L B, ...).
        pred = Predictions(classes.flatten(0, 1), masks.flatten(0, 1))
        # The maps are not repeated: at 1024 px, ten layers of sixteen images would take 1.3 GB.
        target = Segments(segments.of_pixel, segments.classes.repeat(num_layers, 1))
        image, query, segment = self._match(pred, target, generator)  # (M,) each
        class_target = torch.full(
            pred.classes.shape[:2], pred.classes.shape[2] - 1, device=classes.device
        )  # (L B, Q), at first no object
        class_target[image, query] = target.classes[image, segment]
        class_terms = self._class_terms(pred.classes, class_target, target.classes, num_layers)
        mask_losses, dice_losses = self._mask_losses(
            pred.masks[image, query], target.of_pixel, image % batch, segment, generator
        )  # (M,) each
        layer = image // batch
        num_pairs = max(1, len(image) // num_layers)
        zeros = torch.zeros(num_layers, device=masks.device)
        return {
            "class": self.weights["class"] * class_terms,
            "mask": self.weights["mask"] * (zeros.index_add(0, layer, mask_losses) / num_pairs),
            "dice": self.weights["dice"] * (zeros.index_add(0, layer, dice_losses) / num_pairs),
        }

    def _class_terms(
        self, logits: Tensor, target: Tensor, segment_classes: Tensor, num_layers: int
    ) -> Tensor:
        """The weighted mean of the class cross-entropy of each layer.

        Args:
            logits: (L B, Q, K + 1).
            target: (L B, Q).
            segment_classes: (L B, N), -1 where there is no segment.
            num_layers: L.

        Returns:
            (L,).
        """
        loss = F.cross_entropy(logits.transpose(1, 2), target, reduction="none")  # (L B, Q)
        # An image without labels is no evidence that it has no objects.
        is_labelled = (segment_classes >= 0).any(dim=1)
        is_no_object = target == logits.shape[2] - 1
        weights = torch.where(is_no_object, self.no_object_weight, 1.0) * is_labelled[:, None]
        total_weight = weights.view(num_layers, -1).sum(dim=1).clamp(min=1e-6)
        return (loss * weights).view(num_layers, -1).sum(dim=1) / total_weight

    def _mask_losses(
        self,
        logits: Tensor,
        of_pixel: Tensor,
        image: Tensor,
        segment: Tensor,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy and Dice of M masks (M, h, w) at points where they are uncertain."""
        if not len(logits):
            return logits.sum(dim=(1, 2)), logits.sum(dim=(1, 2))
        with torch.no_grad():
            points = uncertain_points(
                logits, of_pixel, image, num=self.num_points, void=VOID, generator=generator
            )  # (M, P, 2)
            labels = labels_at(of_pixel, image, points)  # (M, P)
            counted = (labels != VOID).float()
            inside = (labels == segment[:, None]).float()
        point_logits = logits_at(logits[:, None], points)[:, 0]  # (M, P)
        loss = F.binary_cross_entropy_with_logits(point_logits, inside, reduction="none")
        cross_entropy = (loss * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1)
        probs = point_logits.sigmoid() * counted
        overlap = (probs * inside).sum(dim=1)
        total = probs.sum(dim=1) + inside.sum(dim=1)
        return cross_entropy, 1 - (2 * overlap + 1) / (total + 1)

    @torch.no_grad()
    def _match(
        self, pred: Predictions, target: Segments, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The image, query and segment of each matched pair: three (M,).

        Args:
            pred: of L layers, (L B, ...).
            target: `of_pixel` (B, H, W) and `classes` (L B, N).
            generator: of the random points.
        """
        classes = pred.classes.detach()
        masks = pred.masks.detach()
        device = masks.device
        image = torch.arange(len(masks), device=device) % len(target.of_pixel)
        # All masks of an image share their points: (B, P, 2).
        points = torch.rand(len(masks), self.num_points, 2, device=device, generator=generator)
        labels = labels_at(target.of_pixel, image, points)  # (B, P)
        segment = torch.arange(target.classes.shape[1], device=device)[:, None]
        inside = (labels[:, None] == segment).float()  # (B, N, P)
        point_logits = logits_at(masks, points)
        return match(classes, point_logits, inside, labels != VOID, target.classes, self.weights)


def segments_of(semantic: Tensor, instance: Tensor, *, separate_things: bool) -> Segments:
    """The segments of a batch: every thing, and every class of the other labelled pixels.

    Args:
        semantic: (B, H, W) uint8: class index, 255 void.
        instance: (B, H, W) int32: 1..N things within each image, 0 no thing, -1 unknown.
        separate_things: False merges all things of a class into one segment.
    """
    batch = len(semantic)
    device = semantic.device
    known = semantic != IGNORE_INDEX
    if separate_things:
        known = known & (instance >= 0)
        thing = instance.long().clamp(min=0)
    else:
        thing = torch.zeros_like(semantic, dtype=torch.long)
    # A thing has one class, so (thing, class) identifies a thing and (0, class) stuff; together
    # with the image, it identifies a segment of the batch.
    num_ids = 1 if not thing.numel() else int(thing.max()) + 1
    num_classes = IGNORE_INDEX + 1
    image = torch.arange(batch, device=device).view(-1, 1, 1)
    keys = ((image * num_ids + thing) * num_classes + semantic.long())[known]
    segment_keys, segment_of_known = keys.unique(return_inverse=True)  # sorted by image
    image_of_segment = segment_keys // (num_ids * num_classes)
    num_segments = torch.bincount(image_of_segment, minlength=batch)
    first_segment = num_segments.cumsum(0) - num_segments
    position = torch.arange(len(segment_keys), device=device)
    index_in_image = position - first_segment[image_of_segment]
    of_pixel = torch.full(semantic.shape, VOID, dtype=torch.long, device=device)
    of_pixel[known] = index_in_image[segment_of_known]
    most = int(num_segments.max()) if batch else 0
    classes = torch.full((batch, most), -1, device=device)
    classes[image_of_segment, index_in_image] = segment_keys % num_classes
    return Segments(of_pixel, classes)
