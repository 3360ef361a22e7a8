"""Queries to segments, for mask classification networks (Mask2Former, EoMT).

Cheng et al., MaskFormer (arXiv:2107.06278), sec. 3.4.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Interval
from torch import Tensor
from torch.nn import functional as F

from maskmill.canonical.categories import Categories
from maskmill.postprocess.outputs import MaskOutputs
from maskmill.postprocess.prediction import Prediction, Size
from maskmill.postprocess.semantic import ClassTable, SegmentMap, SemanticSegments

MASK_STRIDE = 4  # masks have a quarter of the image's size
BLOCK = 8  # side in mask pixels of the square blocks in which masks are compared
MAX_PROBS = 2**20  # mask probabilities in memory at a time; more do not fit into a CPU's caches


class SemanticMasks:
    """The most likely class of each pixel; all pixels of a class are one segment.

    Each query votes for its classes with its mask.

    Args:
        categories: of the data set.

    Example:
        >>> from maskmill.canonical.categories import Category
        >>> road = Category(7, "road", False, (128, 64, 128))
        >>> postprocess = SemanticMasks(categories=Categories([road]))
        >>> outputs = {"class_logits": torch.zeros(1, 3, 2), "mask_logits": torch.zeros(1, 3, 1, 2)}
        >>> postprocess(outputs, [(4, 8)])[0].semantic.shape
        (4, 8)
    """

    def __init__(self, *, categories: Categories) -> None:
        self.segments = SemanticSegments(categories=categories)
        self.table = self.segments.table

    @torch.inference_mode()
    def __call__(self, outputs: MaskOutputs, sizes: Sequence[Size]) -> list[Prediction]:
        """One prediction per image.

        Args:
            outputs: for a batch.
            sizes: of the images, which may be padded at the right and bottom.
        """
        class_logits = outputs["class_logits"].float()  # (B, Q, K + 1)
        mask_logits = outputs["mask_logits"].float()  # (B, Q, H/4, W/4)
        images = zip(class_logits, mask_logits, sizes, strict=True)
        return [self._predict(classes, masks, size) for classes, masks, size in images]

    def _predict(self, class_logits: Tensor, mask_logits: Tensor, size: Size) -> Prediction:
        height, width = size
        pixels = torch.arange(height * width, device=mask_logits.device)
        classes, confidence = vote_for_classes(class_logits, mask_logits, pixels, width)
        (prediction,) = self.segments(
            {
                "classes": classes.view(1, height, width),
                "confidence": confidence.view(1, height, width),
            },
            [size],
        )
        return prediction


class PanopticMasks:
    """Assigns each pixel to the most confident query whose mask covers it.

    Queries that lose most of their mask to others are dropped. All queries of a stuff class are one
    segment. A query keeps the pixels that it wins inside its own mask, as in EoMT's code;
    Mask2Former's code also keeps those outside.

    Args:
        threshold: minimum probability of a query's class; 0.8 in the paper. A lower threshold gives
            more, but less certain instances, which AP rewards.
        overlap: minimum share of its mask that a query must keep; 0.8 in the paper.
        min_area_px: smaller instances become void.
        stuff_area_px: smaller stuff segments become void.
        keep_stuff: False keeps things only, for instance segmentation.
        categories: of the data set.

    Example:
        >>> from maskmill.canonical.categories import Category
        >>> cell = Categories([Category(5, "cell", True, (220, 90, 20))])  # and background
        >>> limits = {"overlap": 0.5, "min_area_px": 0, "stuff_area_px": 0}
        >>> postprocess = PanopticMasks(threshold=0.5, **limits, categories=cell)
        >>> class_logits = torch.tensor([[[9.0, 0, 0], [9.0, 0, 0]]])  # (1, 2, 3)
        >>> mask_logits = torch.tensor([[[[9.0, -9]], [[-9.0, 9]]]])  # (1, 2, 1, 2)
        >>> outputs = {"class_logits": class_logits, "mask_logits": mask_logits}
        >>> postprocess(outputs, [(1, 8)])[0].panoptic.ids
        array([[1, 1, 1, 1, 2, 2, 2, 2]], dtype=int32)
    """

    def __init__(
        self,
        *,
        threshold: Annotated[float, Interval(ge=0, lt=1)],
        overlap: Annotated[float, Interval(ge=0, le=1)],
        min_area_px: Annotated[int, Ge(0)],
        stuff_area_px: Annotated[int, Ge(0)],
        keep_stuff: bool = True,
        categories: Categories,
    ) -> None:
        self.threshold = threshold
        self.overlap = overlap
        self.min_area_px = max(min_area_px, 1)
        self.stuff_area_px = max(stuff_area_px, 1)
        self.keep_stuff = keep_stuff
        self.table = ClassTable(categories)

    @torch.inference_mode()
    def __call__(self, outputs: MaskOutputs, sizes: Sequence[Size]) -> list[Prediction]:
        """One prediction per image.

        Args:
            outputs: for a batch.
            sizes: of the images, which may be padded at the right and bottom.
        """
        class_logits = outputs["class_logits"].float()  # (B, Q, K + 1)
        mask_logits = outputs["mask_logits"].float()  # (B, Q, H/4, W/4)
        images = zip(class_logits, mask_logits, sizes, strict=True)
        return [self._predict(classes, masks, size) for classes, masks, size in images]

    def _predict(self, class_logits: Tensor, mask_logits: Tensor, size: Size) -> Prediction:
        segments = self.find_segments(class_logits, mask_logits, size)
        ids = segments.ids.flatten()  # (H * W,)
        class_of_id = F.pad(segments.classes, (1, 0))  # (N + 1,), by segment id
        classes = class_of_id.index_select(0, ids)  # (H * W,)
        void = (ids == 0).nonzero().squeeze(1)
        void_classes, _ = vote_for_classes(class_logits, mask_logits, void, size[1])
        classes[void] = void_classes
        semantic = self.table.category_map(classes.view(size))
        return Prediction(semantic, self.table.panoptic(segments))

    def find_segments(self, class_logits: Tensor, mask_logits: Tensor, size: Size) -> SegmentMap:
        """Segments of one image, without a loop over queries.

        A segment's score is the mean over its pixels of class probability times mask probability.

        Args:
            class_logits: (Q, K + 1).
            mask_logits: (Q, H/4, W/4).
            size: H and W.
        """
        device = class_logits.device
        is_thing = self.table.is_thing.to(device)  # (K,)
        num_classes = len(is_thing)
        class_probs, classes = class_logits.softmax(dim=1).max(dim=1)  # (Q,)
        is_confident = (classes < num_classes) & (class_probs > self.threshold)
        chosen = is_confident.nonzero().squeeze(1)  # (N,) queries
        class_probs = class_probs[chosen]  # (N,)
        classes = classes[chosen]  # (N,)
        num_chosen = len(chosen)
        if num_chosen == 0:
            ids = torch.zeros(size, dtype=torch.long, device=device)
            return SegmentMap(ids, classes, class_probs)
        assigned = assign_pixels(mask_logits[chosen], class_probs, size)
        # One more query gets the pixels outside the mask of their query.
        owner = torch.where(assigned.mask_prob >= 0.5, assigned.query, num_chosen).flatten()
        mask_prob = assigned.mask_prob.flatten().double()  # (H * W,)
        area = torch.bincount(owner, minlength=num_chosen + 1)[:-1]  # (N,) kept pixels
        total_prob = torch.bincount(owner, mask_prob, minlength=num_chosen + 1)[:-1]  # (N,)
        is_kept = (area >= self.overlap * assigned.mask_area) & (assigned.mask_area > 0)
        # A thing is the segment of its query, and stuff the segment of its class:
        # segments 0..N-1 belong to queries, and segments N..N+K-1 to classes.
        own_segment = torch.arange(num_chosen, device=device)
        segment = torch.where(is_thing[classes], own_segment, num_chosen + classes)  # (N,)
        num_segments = num_chosen + num_classes
        segment_area = _sum_by_index(segment, area * is_kept, num_segments)  # (N + K,)
        score = total_prob * class_probs  # (N,)
        segment_score = _sum_by_index(segment, score * is_kept, num_segments)  # (N + K,)
        min_area = torch.full((num_segments,), self.stuff_area_px, device=device)
        min_area[:num_chosen] = self.min_area_px
        is_large = segment_area >= min_area
        if not self.keep_stuff:
            is_large[num_chosen:] = False
        id_of_segment = is_large.cumsum(dim=0) * is_large  # (N + K,), 0 for dropped segments
        id_of_query = F.pad(id_of_segment[segment] * is_kept, (0, 1))  # (N + 1,)
        ids = id_of_query.index_select(0, owner).view(size)  # (H, W)
        all_classes = torch.arange(num_classes, device=device)
        class_of_segment = torch.cat([classes, all_classes])  # (N + K,)
        scores = segment_score[is_large] / segment_area[is_large]
        return SegmentMap(ids, class_of_segment[is_large], scores)


def _sum_by_index(index: Tensor, values: Tensor, length: int) -> Tensor:
    """Sum of the values (N,) with the same index (N,): (length,)."""
    zeros = torch.zeros(length, dtype=values.dtype, device=values.device)
    return zeros.index_add(0, index, values)


@dataclass(frozen=True)
class PixelAssignment:
    """The query of each pixel.

    Args:
        query: (H, W) index of the query.
        mask_prob: (H, W) probability of its mask; 0 where no mask could win.
        mask_area: (N,) number of pixels of each mask alone, where its probability is at least 1/2.
    """

    query: Tensor
    mask_prob: Tensor
    mask_area: Tensor


def assign_pixels(mask_logits: Tensor, class_probs: Tensor, size: Size) -> PixelAssignment:
    """Assign each pixel to the query with the largest product of mask and class probability.

    Masks are interpolated only in blocks where they can win. Let `share` be the smallest class
    probability divided by the largest. A mask whose probability is below `share / 2` in a whole
    block is below 1/2 itself, and cannot take a pixel from a mask that is at least 1/2.

    Args:
        mask_logits: (N, H/4, W/4), N of at least 1.
        class_probs: (N,) probability of each query's class.
        size: H and W.
    """
    device = class_probs.device
    num_queries = len(class_probs)
    min_logit = torch.logit(0.5 * class_probs.min() / class_probs.max())
    mask_height, mask_width = mask_logits.shape[1:]
    num_rows = -(-mask_height // BLOCK)
    num_columns = -(-mask_width // BLOCK)
    # Blocks have a border of one mask pixel; interpolation at the image's edge repeats the edge.
    padding = (1, 1 + -mask_width % BLOCK, 1, 1 + -mask_height % BLOCK)
    padded = F.pad(mask_logits[None], padding, mode="replicate")[0]
    can_win = F.max_pool2d(padded, BLOCK + 2, stride=BLOCK) >= min_logit  # (N, rows, columns)
    query, row, column = can_win.nonzero(as_tuple=True)  # (patches,) each
    step = torch.arange(BLOCK + 2, device=device)
    patch_y = BLOCK * row[:, None] + step  # (patches, BLOCK + 2)
    patch_x = BLOCK * column[:, None] + step  # (patches, BLOCK + 2)
    patches = padded[query[:, None, None], patch_y[:, :, None], patch_x[:, None]]
    weights = _interpolation_weights(padded)  # (side, BLOCK + 2)
    side = len(weights)  # of a block in px of the image
    probs = (weights @ patches @ weights.T).sigmoid_()  # (patches, side, side)
    # Pixels outside the image do not count.
    pixel = torch.arange(side, device=device)
    is_inside_y = side * row[:, None] + pixel < size[0]  # (patches, side)
    is_inside_x = side * column[:, None] + pixel < size[1]  # (patches, side)
    probs *= is_inside_y[:, :, None]
    probs *= is_inside_x[:, None]
    probs = probs.flatten(1)  # (patches, side * side)
    patch_area = (probs >= 0.5).sum(dim=1)
    mask_area = _sum_by_index(query, patch_area, num_queries)  # (N,)
    # for each pixel: best = max over queries of mask_prob * class_prob;  owner = the first with it
    block = (row * num_columns + column)[:, None].expand_as(probs)
    product = probs * class_probs[query][:, None]  # (patches, side * side)
    best = torch.zeros(num_rows * num_columns, side**2, device=device)
    best.scatter_reduce_(0, block, product, reduce="amax")
    is_best = product == best.gather(0, block)
    candidate = torch.where(is_best, query[:, None], num_queries)
    owner = torch.full_like(best, num_queries, dtype=torch.long)
    owner.scatter_reduce_(0, block, candidate, reduce="amin")
    grid = (num_rows, num_columns)
    owner = _join_blocks(owner, grid, size).clamp(max=num_queries - 1)  # (H, W)
    best = _join_blocks(best, grid, size)  # (H, W)
    return PixelAssignment(owner, best / class_probs[owner], mask_area)


def _join_blocks(blocks: Tensor, grid: tuple[int, int], size: Size) -> Tensor:
    """The map (H, W) of the values (blocks, side * side) of all blocks."""
    side = BLOCK * MASK_STRIDE
    values = blocks.view(*grid, side, side).transpose(1, 2)  # (rows, side, columns, side)
    whole = values.flatten(2).flatten(0, 1)  # (rows * side, columns * side)
    return whole[: size[0], : size[1]]


def _interpolation_weights(like: Tensor) -> Tensor:
    """Weights for bilinear upsampling of a block with a border of 1: (4 * BLOCK, BLOCK + 2)."""
    basis = torch.eye(BLOCK + 2, dtype=like.dtype, device=like.device)[None]
    upsampled = F.interpolate(basis, scale_factor=MASK_STRIDE, mode="linear", align_corners=False)
    return upsampled[0, :, MASK_STRIDE:-MASK_STRIDE].T


def vote_for_classes(
    class_logits: Tensor, mask_logits: Tensor, pixels: Tensor, width: int
) -> tuple[Tensor, Tensor]:
    """The class with the most votes in some pixels, and its share of all votes.

    Each query votes for a class with the product of class probability and mask probability.
    Mask logits are interpolated, as in the loss, and not probabilities or votes: these are close to
    0 or 1 in most mask pixels, so that the edge between two of them would be lost.

    Args:
        class_logits: (Q, K + 1).
        mask_logits: (Q, H/4, W/4).
        pixels: (N,) indices y * W + x.
        width: W.

    Returns:
        class indices (N,) and shares of the votes (N,) float32.
    """
    device = pixels.device
    num_queries, mask_height, mask_width = mask_logits.shape
    class_probs = class_logits.softmax(dim=1)[:, :-1].T  # (K, Q)
    size = MASK_STRIDE * torch.tensor([mask_width, mask_height], device=device)
    classes = torch.empty_like(pixels)
    shares = torch.empty(len(pixels), device=device)
    chunk_size = max(1, MAX_PROBS // num_queries)
    for start in range(0, len(pixels), chunk_size):
        chunk = slice(start, start + chunk_size)
        x = pixels[chunk] % width
        y = pixels[chunk] // width
        double_centre = 2 * torch.stack([x, y], dim=1) + 1  # (N, 2), twice the pixel's centre
        points = double_centre / size - 1  # (N, 2) in -1..1
        sampled = F.grid_sample(
            mask_logits[None], points[None, :, None], padding_mode="border", align_corners=False
        )  # (1, Q, N, 1)
        mask_probs = sampled[0, :, :, 0].sigmoid_()  # (Q, N)
        votes = class_probs @ mask_probs  # (K, N)
        highest, classes[chunk] = votes.max(dim=0)
        total = votes.sum(dim=0).clamp(min=torch.finfo(votes.dtype).tiny)
        shares[chunk] = highest / total
    return classes, shares
