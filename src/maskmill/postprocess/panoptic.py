"""Grouping of Panoptic-DeepLab: pixels to centres, centres to instances (Cheng et al., CVPR 2020, arXiv:1911.10194, sec. 3.3)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.postprocess.prediction import Prediction
from maskmill.postprocess.semantic import ClassTable, class_sums, likeliest

MAX_PIXELS = (
    2**21
)  # looked at together, as 1024 x 2048 px: some 100 bytes each, so larger images are taken in bands of rows
MAX_DISTANCES = (
    2**20
)  # pixel-to-centre distances held at once: 8 MiB, which caches hold; 2**24 takes four times as long


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
        if not (
            0 <= threshold <= 1
            and nms_kernel > 0
            and nms_kernel % 2
            and top_k > 0
            and min(min_area_px, stuff_area_px) >= 0
        ):
            raise ValueError(
                f"Expected `threshold` in 0..1, an odd `nms_kernel`, `top_k` above 0 and areas of at least 0, but got "
                f"{threshold}, {nms_kernel}, {top_k}, {min_area_px} and {stuff_area_px} - mend task.postprocess"
            )
        self.threshold, self.nms_kernel, self.top_k = threshold, nms_kernel, top_k
        self.min_area_px, self.stuff_area_px, self.keep_stuff = (
            min_area_px,
            stuff_area_px,
            keep_stuff,
        )
        self.table = ClassTable(categories)
        things = [
            *categories.isthing.tolist(),
            *([False] if categories.background_index is not None else []),
        ]
        self._is_thing = torch.tensor(things)

    @torch.inference_mode()
    def __call__(
        self, outputs: Mapping[str, Tensor], sizes: Sequence[tuple[int, int]]
    ) -> list[Prediction]:
        """`semantic` (B, K, H, W), `center` (B, 1, H, W), `offset` (B, 2, H, W) and the sizes within the batch to predictions."""
        parts = zip(
            *likeliest(outputs),
            outputs["center"].float(),
            outputs["offset"].float(),
            sizes,
            strict=True,
        )
        return [
            self._predict(
                classes[:height, :width],
                confidence[:height, :width],
                center[0, :height, :width],
                offset[:, :height, :width],
            )
            for classes, confidence, center, offset, (height, width) in parts
        ]

    def _predict(
        self, classes: Tensor, confidence: Tensor, center: Tensor, offset: Tensor
    ) -> Prediction:
        groups = self.group(classes, confidence, center, offset)
        if self.keep_stuff:
            groups = self._with_stuff(groups, classes, confidence)
        category_of = {
            n: int(self.table.category_ids[index])
            for n, index in enumerate(groups.classes.tolist(), start=1)
        }
        scores = dict(enumerate(groups.scores.tolist(), start=1))
        panoptic = Panoptic.from_ids(groups.numbers.cpu().numpy(), category_of, scores=scores)
        return Prediction(self.table.category_map(classes), panoptic)

    def group(self, classes: Tensor, confidence: Tensor, center: Tensor, offset: Tensor) -> Groups:
        """Thing instances from class indices, their probability and the centre heatmap, all (H, W), and offsets (2, H, W)."""
        peaks, heights = self._peaks(center)  # (N, 2), (N,)
        numbers = torch.zeros(classes.shape, dtype=torch.int32, device=classes.device)
        if not len(peaks):
            return Groups(
                numbers,
                numbers.new_zeros(0, dtype=torch.int64),
                confidence.new_zeros(0, dtype=torch.float64),
            )
        votes = torch.zeros(
            len(peaks), len(self._is_thing), dtype=torch.int64, device=classes.device
        )  # (N, K)
        sure = torch.zeros(len(peaks), dtype=torch.float64, device=classes.device)
        for top, bottom in _bands(classes):
            pixels = self._is_thing.to(classes.device)[
                classes[top:bottom].long()
            ].nonzero()  # (P, 2)
            y, x = pixels.T + pixels.new_tensor([[top], [0]])
            nearest = _nearest(torch.stack([y, x], dim=1) + offset[:, y, x].T, peaks)  # (P,)
            votes += torch.bincount(
                nearest * votes.shape[1] + classes[y, x], minlength=votes.numel()
            ).view_as(votes)
            sure += torch.bincount(nearest, confidence[y, x].double(), minlength=len(peaks))
            numbers[y, x] = (nearest + 1).int()
        area = votes.sum(dim=1)
        kept = (area >= max(self.min_area_px, 1)).nonzero().squeeze(1)  # (M,)
        number_of = torch.zeros(len(peaks) + 1, dtype=torch.int32, device=classes.device)
        number_of[kept + 1] = torch.arange(
            1, len(kept) + 1, dtype=torch.int32, device=classes.device
        )
        for top, bottom in _bands(numbers):
            numbers[top:bottom] = number_of[numbers[top:bottom].long()]
        return Groups(
            numbers, votes.argmax(dim=1)[kept], (sure / area.clamp(min=1) * heights)[kept]
        )

    def _peaks(self, center: Tensor) -> tuple[Tensor, Tensor]:
        """The highest places of the heatmap (H, W): positions (N, 2) in px, and heights (N,), highest first."""
        at = torch.cat(
            [self._peaks_of_rows(center, top, bottom) for top, bottom in _bands(center)]
        )  # (N, 2)
        heights = center[at[:, 0], at[:, 1]]
        order = heights.sort(descending=True, stable=True).indices[: self.top_k]
        return at[order], heights[order].clamp(max=1).double()

    def _peaks_of_rows(self, center: Tensor, top: int, bottom: int) -> Tensor:
        """Positions (N, 2) of the peaks in some rows, from the rows and as many around them as decide."""
        above = max(
            0, top - self.nms_kernel + 1
        )  # half a window to tell a peak, half a window to tell the first of equals
        center = center[above : bottom + self.nms_kernel - 1]
        is_peak = (center == self._highest(center)) & (center > self.threshold)
        # Rounding, to bfloat16 above all, makes neighbours equally high; two centres would split the instance, so the first one stands.
        order = (
            torch.arange(center.numel(), 0, -1, dtype=torch.float64, device=center.device).view_as(
                center
            )
            * is_peak
        )
        at = (is_peak & (order == self._highest(order)))[top - above : bottom - above].nonzero()
        return at + at.new_tensor([top, 0])

    def _highest(self, values: Tensor) -> Tensor:
        """The maximum of the window around each place of a map (H, W)."""
        return F.max_pool2d(values[None], self.nms_kernel, stride=1, padding=self.nms_kernel // 2)[
            0
        ]

    def _with_stuff(self, groups: Groups, classes: Tensor, confidence: Tensor) -> Groups:
        """The same with a segment for every large enough stuff class, numbered after the things."""
        is_thing = self._is_thing.to(classes.device)
        area, sure = class_sums(classes, confidence, len(is_thing))  # (K,)
        large = (area >= max(self.stuff_area_px, 1)) & ~is_thing
        large[len(self.table.categories) :] = False  # background is no segment
        number_of = (
            (large.cumsum(dim=0) + len(groups.classes)) * large
        ).int()  # (K,), 0 where there is none
        numbers = groups.numbers.clone()
        for top, bottom in _bands(classes):
            rows = classes[top:bottom].long()
            numbers[top:bottom] = torch.where(is_thing[rows], numbers[top:bottom], number_of[rows])
        chosen = large.nonzero().squeeze(1)
        return Groups(
            numbers,
            torch.cat([groups.classes, chosen]),
            torch.cat([groups.scores, (sure / area.clamp(min=1))[chosen]]),
        )


def _nearest(points: Tensor, peaks: Tensor) -> Tensor:
    """The place in `peaks` (N, 2) nearest to each point (P, 2): (P,), in bounded memory.

    The nearest has the largest p q - q q / 2, one matrix product instead of N differences a point; float64 keeps what cancels.
    """
    corners = peaks.double()
    half_square = corners.square().sum(dim=1) / 2  # (N,)
    points = points.double()
    size = min(max(1, MAX_DISTANCES // len(peaks)), max(1, len(points)))
    # One buffer for all: results kept between buffers of 8 MiB would leave holes in the heap, which grew to gigabytes.
    likeness = points.new_empty(size, len(peaks))
    nearest = torch.empty(len(points), dtype=torch.int64, device=points.device)
    for begin in range(0, len(points), size):
        chunk = points[begin : begin + size]
        torch.addmm(-half_square, chunk, corners.T, out=likeness[: len(chunk)])
        torch.argmax(likeness[: len(chunk)], dim=1, out=nearest[begin : begin + size])
    return nearest


def _bands(of: Tensor) -> Iterator[tuple[int, int]]:
    """First row and the one after the last of each band of a map (H, W)."""
    rows = max(1, MAX_PIXELS // of.shape[1])
    return ((top, min(top + rows, len(of))) for top in range(0, len(of), rows))
