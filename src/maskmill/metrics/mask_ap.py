"""Average precision of masks as a torchmetrics metric."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.metrics.functional.mask_ap import score_matches
from maskmill.metrics.functional.mask_matching import match_masks, pack, split, unpack
from maskmill.metrics.functional.masks import Masks

Objects = Panoptic | Mapping[str, Tensor]


class MaskAP(Metric):
    """AP, AP50 and the other numbers of COCO for masks; see `mask_ap`.

    Args:
        categories: the data set's table; its things are the classes.
        boundary: boundary AP in place of mask AP (Cheng et al., CVPR 2021, arXiv:2103.16562).
        kwargs: of torchmetrics.Metric.
    """

    full_state_update = False
    packed: list[Tensor]

    def __init__(self, categories: Categories, *, boundary: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.categories = categories
        self.boundary = boundary
        # Each image is a line of bytes: what torchmetrics can gather from processes that saw different numbers of objects.
        self.add_state("packed", [], dist_reduce_fx="cat")

    def update(self, preds: Sequence[Objects], target: Sequence[Objects]) -> None:
        """Count images.

        Args:
            preds: of each image the segments, or the objects as torchmetrics' MeanAveragePrecision takes them: "masks" (N, H, W) bool,
                "labels" (N,) category ids and "scores" (N,). Segments without a score have 1.
            target: of the same images; objects may have "iscrowd" (N,) and "area" (N,).
        """
        for pred, truth in zip(preds, target, strict=True):
            matches = match_masks(self._masks(pred), self._masks(truth), boundary=self.boundary)
            self.packed.append(torch.from_numpy(pack(matches)).to(self.device))

    def _sync_dist(self, *args: Any, **kwargs: Any) -> None:
        """Gather. Where a process has no image torchmetrics would send numbers in place of bytes, and the others would wait or stop."""
        self.packed = self.packed or [torch.zeros(0, dtype=torch.uint8, device=self.device)]
        super()._sync_dist(*args, **kwargs)

    def _masks(self, objects: Objects) -> Masks:
        return (
            Masks.of_things(objects, self.categories)
            if isinstance(objects, Panoptic)
            else masks_of_tensors(objects, self.categories)
        )

    def compute(self) -> dict[str, Tensor]:
        """The twelve numbers, and "AP/<category>" of each thing; float64 fractions, NaN for what the truth has nothing of."""
        data = (
            dim_zero_cat(self.packed).cpu().numpy().tobytes() if len(self.packed) else b""
        )  # one tensor after gathering
        # Among equal scores the evaluator takes the earlier image first: sorted, so that batches and processes change nothing.
        images = [unpack(image) for image in sorted(split(data))]
        done = score_matches(
            images, [category.id for category in self.categories if category.isthing]
        )
        scores = {
            f"AP/{self.categories[category_id].name}": value
            for category_id, value in done.per_class.items()
        }
        scores |= done.numbers  # last: a category may be called "small"
        prefix = "boundary_" if self.boundary else ""
        return {
            f"{prefix}{name}": torch.tensor(value, dtype=torch.float64)
            for name, value in scores.items()
        }


def masks_of_tensors(objects: Mapping[str, Tensor], categories: Categories) -> Masks:
    """The things of one image from torchmetrics' form; see `MaskAP.update`.

    Raises:
        ValueError: a label is no thing of the table, or the numbers of masks and labels differ.
    """
    masks, labels = (
        objects["masks"].cpu().numpy().astype(np.uint8),
        objects["labels"].cpu().numpy().astype(np.int64),
    )
    things = {category.id for category in categories if category.isthing}
    unknown = sorted(set(labels.tolist()) - things)
    if unknown:
        raise ValueError(
            f"Expected labels to be category ids of things, {sorted(things)}, but got {unknown[:5]} - translate class indices"
        )
    if masks.shape[0] != len(labels):
        raise ValueError(
            f"Expected as many masks as labels, but got {masks.shape[0]} and {len(labels)} - filter both alike"
        )
    rles = [coco_mask.encode(np.asfortranarray(mask)) for mask in masks]
    count, given = (
        len(rles),
        {
            key: value.cpu().numpy()
            for key, value in objects.items()
            if key in {"area", "scores", "iscrowd"}
        },
    )
    area = given.get("area", masks.reshape(count, -1).sum(axis=1) if count else np.zeros(0))
    score, iscrowd = given.get("scores", np.ones(count)), given.get("iscrowd", np.zeros(count))
    return Masks(
        rles, labels, area.astype(np.float64), iscrowd.astype(bool), score.astype(np.float64)
    )
