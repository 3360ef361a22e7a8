"""The loss of mask classification: queries matched to segments, masks learned at sampled points (arXiv:2112.01527, sec. 3.3)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskmill.canonical.categories import IGNORE_INDEX
from maskmill.losses.assignment import match
from maskmill.losses.points import labels_at, logits_at, uncertain_points
from maskmill.losses.semantic import Batch, Terms

VOID = -1  # in a map of segments: no segment, and no evidence against any


@dataclass(frozen=True)
class Segments:
    """What a batch asks to be found.

    Args:
        of_pixel: (B, H, W) long: the segment's number within its image, from 0; `VOID` where nothing is known.
        classes: (B, N) long: the class of each segment, padded with -1 where an image has fewer than N.
    """

    of_pixel: Tensor
    classes: Tensor


class MaskClassificationLoss(nn.Module):
    """Cross-entropy of classes, and binary cross-entropy and Dice of masks, of the queries matched to segments; void pixels count nowhere.

    Args:
        class_weight: of the classes' cross-entropy; 2 in the paper.
        mask_weight: of the masks' cross-entropy; 5 in the paper.
        dice_weight: of the masks' Dice; 5 in the paper.
        no_object_weight: share with which a query without a segment counts in the cross-entropy; 0.1 in the paper.
        num_points: sampled per mask, three times as many looked at; 12544 in the paper for images of 1024 px.
        separate_things: things are segments each of its own; False gives a class one mask, as the semantic task wants.

    Raises:
        ValueError: a number is out of range.
    """

    def __init__(
        self,
        *,
        class_weight: float = 2.0,
        mask_weight: float = 5.0,
        dice_weight: float = 5.0,
        no_object_weight: float = 0.1,
        num_points: int = 12544,
        separate_things: bool = True,
    ) -> None:
        super().__init__()
        weights = (class_weight, mask_weight, dice_weight)
        if not (
            all(weight >= 0 for weight in weights) and 0 < no_object_weight <= 1 and num_points >= 4
        ):  # NaN is refused too
            raise ValueError(
                f"Expected weights of at least 0, `no_object_weight` in (0, 1] and `num_points` of at least 4, but got "
                f"{class_weight}, {mask_weight}, {dice_weight}, {no_object_weight} and {num_points} - mend conf/loss"
            )
        self.weights = {"class": class_weight, "mask": mask_weight, "dice": dice_weight}
        self.no_object_weight, self.num_points, self.separate_things = (
            no_object_weight,
            num_points,
            separate_things,
        )

    def forward(self, outputs: Mapping[str, Tensor], batch: Batch) -> Terms:
        """Outputs of the network against `semantic` and `instance` (B, H, W): the weighted terms, in training those of inner layers summed.

        Returns:
            `class`, `mask` and `dice`, and `auxiliary` where the network gives inner predictions; 0 where nothing is labelled.
        """
        found = segments_of(
            batch["semantic"], batch["instance"], separate_things=self.separate_things
        )
        # Evaluation must not depend on what was drawn before it.
        generator = None if self.training else torch.Generator(found.of_pixel.device).manual_seed(0)
        classes, masks = outputs["class_logits"].float()[None], outputs["mask_logits"].float()[None]
        if "aux_class_logits" in outputs:
            classes = torch.cat(
                [classes, outputs["aux_class_logits"].float()]
            )  # (L, B, Q, K + 1), the last layer first
            masks = torch.cat([masks, outputs["aux_mask_logits"].float()])  # (L, B, Q, h, w)
        terms = self._terms(classes, masks, found, generator)  # (L,) each
        last = {name: values[0] for name, values in terms.items()}
        return (
            last
            if len(classes) == 1
            else last
            | {"auxiliary": torch.stack([values[1:].sum() for values in terms.values()]).sum()}
        )

    def _terms(
        self, classes: Tensor, masks: Tensor, found: Segments, generator: torch.Generator | None
    ) -> Terms:
        """Weighted terms of each of L layers, whose matchings are their own."""
        layers, batch = classes.shape[:2]
        flat = Segments(
            found.of_pixel.repeat(layers, 1, 1), found.classes.repeat(layers, 1)
        )  # layers as further images: (L B, ...)
        classes, masks = classes.flatten(0, 1), masks.flatten(0, 1)
        image, query, segment = self._match(
            classes.detach(), masks.detach(), flat, generator
        )  # (M,) each
        target = torch.full(
            classes.shape[:2], classes.shape[2] - 1, device=classes.device
        )  # (L B, Q), the last class is no object
        target[image, query] = flat.classes[image, segment]
        per_query = F.cross_entropy(classes.transpose(1, 2), target, reduction="none")  # (L B, Q)
        known = (
            (found.classes >= 0).any(dim=1).repeat(layers)
        )  # an image without labels is no evidence that there is nothing
        share = (
            torch.where(target == classes.shape[2] - 1, self.no_object_weight, 1.0) * known[:, None]
        )
        class_terms = (per_query * share).view(layers, -1).sum(dim=1) / share.view(layers, -1).sum(
            dim=1
        ).clamp(min=1e-6)
        mask_terms, dice_terms = self._mask_terms(
            masks[image, query], flat.of_pixel, image, segment, generator
        )  # (M,) each
        layer, num = image // batch, max(1, len(image) // layers)
        per_layer = [
            torch.zeros(layers, device=masks.device).index_add(0, layer, values) / num
            for values in (mask_terms, dice_terms)
        ]
        terms = {"class": class_terms, "mask": per_layer[0], "dice": per_layer[1]}
        return {name: self.weights[name] * values for name, values in terms.items()}

    def _mask_terms(
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
        at = logits_at(logits[:, None], points)[:, 0]  # (M, P)
        cross_entropy = F.binary_cross_entropy_with_logits(at, inside, reduction="none")
        prob = at.sigmoid() * counted
        dice = 1 - (2 * (prob * inside).sum(dim=1) + 1) / (prob.sum(dim=1) + inside.sum(dim=1) + 1)
        return (cross_entropy * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1), dice

    @torch.no_grad()
    def _match(
        self, classes: Tensor, masks: Tensor, found: Segments, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Image, query and segment of each matched pair: three (M,)."""
        image = torch.arange(len(masks), device=masks.device)
        points = torch.rand(
            len(masks), self.num_points, 2, device=masks.device, generator=generator
        )  # (B, P, 2), shared by an image's masks
        labels = labels_at(found.of_pixel, image, points)  # (B, P)
        inside = (
            labels[:, None] == torch.arange(found.classes.shape[1], device=masks.device)[:, None]
        ).float()  # (B, N, P)
        return match(
            classes, logits_at(masks, points), inside, labels != VOID, found.classes, self.weights
        )


def segments_of(semantic: Tensor, instance: Tensor, *, separate_things: bool) -> Segments:
    """The segments of a batch: every thing, and every class of the other labelled pixels.

    Args:
        semantic: (B, H, W) uint8: class, 255 void.
        instance: (B, H, W) int32: 1..N things within each image, 0 no thing, -1 unknown.
        separate_things: False makes a segment of all things of a class.
    """
    known = semantic != IGNORE_INDEX
    if separate_things:
        known = known & (instance >= 0)
    batch = len(semantic)
    thing = (
        instance.long().clamp(min=0)
        if separate_things
        else torch.zeros_like(semantic, dtype=torch.long)
    )
    # A thing has one class, so (thing, class) names a thing and (0, class) stuff; together with the image, a segment of the batch.
    most = int(thing.max()) + 1
    image = torch.arange(batch, device=semantic.device).view(-1, 1, 1)
    keys = ((image * most + thing) * (IGNORE_INDEX + 1) + semantic.long())[known]
    names, of_known = keys.unique(return_inverse=True)  # sorted, so an image's are together
    owner, classes = names // (most * (IGNORE_INDEX + 1)), names % (IGNORE_INDEX + 1)
    counts = torch.bincount(owner, minlength=batch)
    place = (
        torch.arange(len(names), device=names.device) - (counts.cumsum(0) - counts)[owner]
    )  # number within the image
    of_pixel = torch.full(semantic.shape, VOID, dtype=torch.long, device=semantic.device)
    of_pixel[known] = place[of_known]
    table = torch.full((batch, int(counts.max())), -1, device=semantic.device)
    table[owner, place] = classes
    return Segments(of_pixel, table)
