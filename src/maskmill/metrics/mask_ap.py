"""Average precision of masks as a torchmetrics metric."""

from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict, cast

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.metrics.functional.mask_ap import score_matches
from maskmill.metrics.functional.mask_matching import match_masks, pack, split, unpack
from maskmill.metrics.functional.mask_runs import MaskRuns
from maskmill.metrics.functional.masks import Masks
from maskmill.metrics.functional.tensor_overlaps import require_integer_tensors


class MaskTensors(TypedDict):
    """The objects of one image in the form of torchmetrics' MeanAveragePrecision.

    masks: (N, H, W) bool.
    labels: (N,) category ids of things.
    scores: (N,) confidence, 1 where left out.
    iscrowd: (N,) whether a target object is a group, 0 where left out.
    area: (N,) pixels, those of the mask where left out.
    """

    masks: Tensor
    labels: Tensor
    scores: NotRequired[Tensor]
    iscrowd: NotRequired[Tensor]
    area: NotRequired[Tensor]


Objects = Panoptic | MaskTensors


class MaskAP(Metric):
    """AP, AP50 and the other numbers of COCO for masks; see `mask_ap`.

    Args:
        categories: the data set's table; its things are the classes.
        boundary: boundary AP instead of mask AP (Cheng et al., CVPR 2021, arXiv:2103.16562).
        kwargs: passed to torchmetrics.Metric.

    Example:
        >>> from maskmill.canonical.categories import Category
        >>> metric = MaskAP(Categories([Category(7, "cell", True, (200, 0, 0))]))
        >>> mask = torch.ones(1, 4, 4, dtype=torch.bool)
        >>> cell: MaskTensors = {"masks": mask, "labels": torch.tensor([7])}
        >>> metric.update([cell], [cell])
        >>> round(float(metric.compute()["AP"]), 6)
        1.0
    """

    full_state_update = False
    packed: list[Tensor]  # a line of bytes per image

    def __init__(self, categories: Categories, *, boundary: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.categories = categories
        self.boundary = boundary
        # Bytes, since torchmetrics can gather them from processes with different numbers of objects
        self.add_state("packed", [], dist_reduce_fx="cat")

    def update(self, preds: Sequence[Objects], target: Sequence[Objects]) -> None:
        """Count images.

        Args:
            preds: the segments of each image, or its objects as `MaskTensors`. Segments without a
                score have 1.
            target: of the same images.
        """
        for pred, labels in zip(preds, target, strict=True):
            matches = match_masks(self._masks(pred), self._masks(labels), boundary=self.boundary)
            self.packed.append(torch.from_numpy(pack(matches)).to(self.device))

    def _sync_dist(self, *args: Any, **kwargs: Any) -> None:
        """Gather, also from a process without an image.

        For an empty list, torchmetrics would send a float tensor where the others send bytes.
        """
        self.packed = self.packed or [torch.zeros(0, dtype=torch.uint8, device=self.device)]
        super()._sync_dist(*args, **kwargs)

    def _masks(self, objects: Objects) -> Masks:
        if isinstance(objects, Panoptic):
            return Masks.from_things(objects, self.categories)
        return masks_from_tensors(objects, self.categories)

    def compute(self) -> dict[str, Tensor]:
        """The scores so far.

        Returns:
            the twelve numbers of COCO, and "AP/<category>" of each thing: float64 fractions, NaN
            where the target has no such object.
        """
        # A list before gathering, one tensor after it.
        data = dim_zero_cat(self.packed).cpu().numpy().tobytes() if len(self.packed) else b""
        # Between equal scores the evaluator takes the earlier image first: sorted, so that neither
        # batches nor processes change the result.
        images = [unpack(image) for image in sorted(split(data))]
        thing_ids = [category.id for category in self.categories if category.isthing]
        result = score_matches(images, thing_ids)
        scores = {}
        for category_id, value in result.per_class.items():
            scores[f"AP/{self.categories[category_id].name}"] = value
        scores |= result.numbers  # last: the name of a category can be "small"
        prefix = "boundary_" if self.boundary else ""
        return {
            f"{prefix}{name}": torch.tensor(value, dtype=torch.float64)
            for name, value in scores.items()
        }


def masks_from_tensors(objects: MaskTensors, categories: Categories) -> Masks:
    """The things of one image from torchmetrics' form.

    Raises:
        ValueError: a label is not a thing of the table, the numbers of objects differ, or masks
            and labels are not integers or bool.
    """
    require_integer_tensors(objects["masks"], objects["labels"])
    runs = MaskRuns.from_bitmaps(objects["masks"].cpu().numpy() != 0)
    labels = objects["labels"].cpu().numpy().astype(np.int64)
    things = {category.id for category in categories if category.isthing}
    unknown = sorted(set(labels.tolist()) - things)
    if unknown:
        raise ValueError(
            f"Expected labels to be category ids of things, {sorted(things)}, "
            f"but got {unknown[:5]} - translate class indices"
        )
    count = len(labels)
    for name, column in objects.items():
        num_rows = len(cast(Tensor, column))
        if num_rows != count:
            raise ValueError(
                f"Expected as many {name} as labels, but got {num_rows} and {count} - "
                "filter both alike"
            )
    mask_area = torch.from_numpy(runs.area)
    return Masks(
        runs=runs,
        category_id=labels,
        area=objects.get("area", mask_area).cpu().double().numpy(),
        iscrowd=objects.get("iscrowd", torch.zeros(count)).cpu().bool().numpy(),
        score=objects.get("scores", torch.ones(count)).cpu().double().numpy(),
    )
