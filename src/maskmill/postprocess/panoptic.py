"""Grouping of Panoptic-DeepLab: pixels to centres, centres to instances (Cheng et al., CVPR 2020, arXiv:1911.10194, sec. 3.3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.postprocess.prediction import Prediction
from maskmill.postprocess.semantic import ClassTable, class_sums

MAX_DISTANCES = 2**20  # pixel-to-centre distances held at once: 8 MiB, which caches hold; 2**24 takes four times as long


@dataclass(frozen=True)
class Groups:
    """Thing instances of one image: number of each pixel (H, W), 0 = none, and per instance class index (N,) and score (N,)."""

    numbers: Tensor
    classes: Tensor
    scores: Tensor


class PanopticGrouping:
    """Each thing pixel joins the centre it points at; an instance has the class most of its pixels have.

    Args:
        threshold: least height of a centre in the heatmap, 0.1 in the paper.
        nms_kernel: side of the window in which a centre must be the highest, odd, 7 px in the paper.
        top_k: most centres per image, 200 in the paper.
        min_area_px: smaller instances become void.
        stuff_area_px: smaller stuff segments become void, 2048 in the paper for images of 1024 x 2048.
        keep_stuff: False leaves things only, for instance segmentation.
        categories: the data set's table.

    Raises:
        ValueError: a number is out of range.
    """

    def __init__(
        self,
        *,
        threshold: float,
        nms_kernel: int,
        top_k: int,
        min_area_px: int,
        stuff_area_px: int,
        keep_stuff: bool = True,
        categories: Categories,
    ) -> None:
        if not (0 <= threshold <= 1 and nms_kernel > 0 and nms_kernel % 2 and top_k > 0 and min(min_area_px, stuff_area_px) >= 0):
            raise ValueError(
                f"Expected `threshold` in 0..1, an odd `nms_kernel`, `top_k` above 0 and areas of at least 0, but got "
                f"{threshold}, {nms_kernel}, {top_k}, {min_area_px} and {stuff_area_px} - mend task.postprocess"
            )
        self.threshold, self.nms_kernel, self.top_k = threshold, nms_kernel, top_k
        self.min_area_px, self.stuff_area_px, self.keep_stuff = min_area_px, stuff_area_px, keep_stuff
        self.table = ClassTable(categories)
        things = [*categories.isthing.tolist(), *([False] if categories.background_index is not None else [])]
        self._is_thing = torch.tensor(things)

    @torch.inference_mode()
    def __call__(self, outputs: Mapping[str, Tensor], sizes: Sequence[tuple[int, int]]) -> list[Prediction]:
        """`semantic` (B, K, H, W), `center` (B, 1, H, W), `offset` (B, 2, H, W) and the sizes within the batch to predictions."""
        parts = zip(outputs["semantic"].float(), outputs["center"].float(), outputs["offset"].float(), sizes, strict=True)
        return [
            self._predict(semantic[:, :height, :width], center[0, :height, :width], offset[:, :height, :width])
            for semantic, center, offset, (height, width) in parts
        ]

    def _predict(self, semantic: Tensor, center: Tensor, offset: Tensor) -> Prediction:
        confidence, classes = semantic.softmax(dim=0).max(dim=0)  # (H, W) each
        groups = self.group(classes, confidence, center, offset)
        ids = groups.numbers.cpu().numpy().astype(np.int32)
        categories = self.table.categories
        category_of = {n: int(categories.ids[index]) for n, index in enumerate(groups.classes.tolist(), start=1)}
        scores = dict(enumerate(groups.scores.tolist(), start=1))
        if self.keep_stuff:
            self._add_stuff(ids, classes, confidence, category_of, scores)
        return Prediction(self.table.category_map(classes), Panoptic.from_ids(ids, category_of, scores=scores))

    def group(self, classes: Tensor, confidence: Tensor, center: Tensor, offset: Tensor) -> Groups:
        """Thing instances from class indices, their probability and the centre heatmap, all (H, W), and offsets (2, H, W)."""
        peaks, heights = self._peaks(center)  # (N, 2), (N,)
        pixels = self._is_thing.to(classes.device)[classes].nonzero()  # (P, 2)
        numbers = torch.zeros_like(classes)
        if not len(peaks) or not len(pixels):
            return Groups(numbers, classes.new_zeros(0), confidence.new_zeros(0))
        y, x = pixels.T
        nearest = _nearest(pixels + offset[:, y, x].T, peaks)  # (P,)
        num_classes = len(self._is_thing)
        votes = torch.bincount(nearest * num_classes + classes[y, x], minlength=len(peaks) * num_classes).view(-1, num_classes)  # (N, K)
        area = votes.sum(dim=1)
        sure = torch.bincount(nearest, confidence[y, x].double(), minlength=len(peaks)) / area.clamp(min=1)
        kept = (area >= max(self.min_area_px, 1)).nonzero().squeeze(1)  # (M,)
        number_of = torch.zeros(len(peaks), dtype=classes.dtype, device=classes.device)
        number_of[kept] = torch.arange(1, len(kept) + 1, dtype=classes.dtype, device=classes.device)
        numbers[y, x] = number_of[nearest]
        return Groups(numbers, votes.argmax(dim=1)[kept], (sure * heights)[kept])

    def _peaks(self, center: Tensor) -> tuple[Tensor, Tensor]:
        """The highest places of the heatmap (H, W): positions (N, 2) in px, and heights (N,), highest first."""
        is_peak = (center == self._highest(center)) & (center > self.threshold)
        # Rounding, to bfloat16 above all, makes neighbours equally high; two centres would split the instance, so the first one stands.
        order = torch.arange(center.numel(), 0, -1, dtype=torch.float64, device=center.device).view_as(center) * is_peak
        at = (is_peak & (order == self._highest(order))).nonzero()  # (N, 2)
        heights = center[at[:, 0], at[:, 1]]
        order = heights.sort(descending=True, stable=True).indices[: self.top_k]
        return at[order], heights[order].clamp(max=1).double()

    def _highest(self, values: Tensor) -> Tensor:
        """The maximum of the window around each place of a map (H, W)."""
        return F.max_pool2d(values[None], self.nms_kernel, stride=1, padding=self.nms_kernel // 2)[0]

    def _add_stuff(
        self,
        ids: np.ndarray[tuple[int, ...], np.dtype[np.int32]],
        classes: Tensor,
        confidence: Tensor,
        category_of: dict[int, int],
        scores: dict[int, float],
    ) -> None:
        """Give every large enough stuff class one segment, in place."""
        area, sure = class_sums(classes, confidence, len(self._is_thing))
        class_map = classes.cpu().numpy()
        for index, category in enumerate(self.table.categories):
            if category.isthing or area[index] < max(self.stuff_area_px, 1):
                continue
            number = len(category_of) + 1
            ids[class_map == index] = number
            category_of[number], scores[number] = category.id, sure[index] / area[index]


def _nearest(points: Tensor, peaks: Tensor) -> Tensor:
    """The place in `peaks` (N, 2) nearest to each point (P, 2): (P,), in bounded memory.

    The nearest has the largest p q - q q / 2, one matrix product instead of N differences a point; float64 keeps what cancels.
    """
    corners = peaks.double()
    half_square = corners.square().sum(dim=1) / 2  # (N,)
    chunks = points.double().split(max(1, MAX_DISTANCES // len(peaks)))
    return torch.cat([torch.addmm(-half_square, chunk, corners.T).argmax(dim=1) for chunk in chunks])
