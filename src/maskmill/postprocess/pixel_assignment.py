"""Which query has a pixel, and which class: the masks of queries against each other."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from maskmill.postprocess.prediction import Size

MASK_STRIDE = 4  # masks have a quarter of the image's size
BLOCK = 8  # side in mask pixels of the square blocks in which masks are compared
MAX_PROBS = 2**20  # mask probabilities in memory at a time; more do not fit into a CPU's caches


def sum_by_index(index: Tensor, values: Tensor, length: int) -> Tensor:
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
    mask_area = sum_by_index(query, patch_area, num_queries)  # (N,)
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
