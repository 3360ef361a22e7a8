"""Which query has a pixel, and which class: the masks of queries against each other."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from maskmill.postprocess.outputs import Floats
from maskmill.postprocess.prediction import Size

MASK_STRIDE = 4  # masks have a quarter of the image's size
BLOCK = 8  # side in mask pixels of the square blocks in which masks are compared

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PixelAssignment:
    """The query of each pixel.

    Args:
        query: (H, W) int64 index of the query.
        mask_prob: (H, W) float32 probability of its mask; 0 where no mask could win.
        mask_area: (N,) number of pixels of each mask alone, where its probability is at least 1/2.
    """

    query: Ints
    mask_prob: Floats
    mask_area: Ints


def assign_pixels(mask_logits: Floats, class_probs: Floats, size: Size) -> PixelAssignment:
    """Assign each pixel to the query with the largest product of mask and class probability.

    Masks are interpolated only in blocks where they can win. Let `share` be the smallest class
    probability divided by the largest. A mask whose probability is below `share / 2` in a whole
    block is below 1/2 itself, and cannot take a pixel from a mask that is at least 1/2.

    Args:
        mask_logits: (N, H/4, W/4), N of at least 1.
        class_probs: (N,) probability of each query's class.
        size: H and W.
    """
    min_prob = 0.5 * class_probs.min() / class_probs.max()
    min_logit = np.log(min_prob / (1 - min_prob))
    mask_height, mask_width = mask_logits.shape[1:]
    num_rows = -(-mask_height // BLOCK)
    num_columns = -(-mask_width // BLOCK)
    # Blocks have a border of one mask pixel; interpolation at the image's edge repeats the edge.
    bottom = 1 + -mask_height % BLOCK
    right = 1 + -mask_width % BLOCK
    padded = np.pad(mask_logits, ((0, 0), (1, bottom), (1, right)), mode="edge")
    patch_side = BLOCK + 2
    patches = np.lib.stride_tricks.sliding_window_view(
        padded, (patch_side, patch_side), axis=(1, 2)
    )
    patches = patches[:, ::BLOCK, ::BLOCK]  # (N, rows, columns, BLOCK + 2, BLOCK + 2)
    can_win = _block_maximum(padded) >= min_logit  # (N, rows, columns)
    weights = _interpolation_weights()  # (side, BLOCK + 2)
    side = len(weights)  # of a block in px of the image
    # Pixels outside the image do not count.
    is_inside = _blocks_inside(size, (num_rows, num_columns), side)  # (rows, columns, side, side)
    best = np.zeros((num_rows, num_columns, side, side), np.float32)
    owner = np.full(best.shape, len(class_probs) - 1)
    mask_area = np.zeros(len(class_probs), np.int64)
    # for each query and block: where its product is larger than those before, it has the pixel
    for query, class_prob in enumerate(class_probs):
        row, column = can_win[query].nonzero()  # (blocks,) each
        probs = _sigmoid(weights @ patches[query, row, column] @ weights.T)  # (blocks, side, side)
        probs *= is_inside[row, column]
        mask_area[query] = np.count_nonzero(probs >= 0.5)
        product = probs * class_prob
        is_better = product > best[row, column]
        owner[row, column] = np.where(is_better, query, owner[row, column])
        best[row, column] = np.maximum(product, best[row, column])
    owner = _join_blocks(owner, size)  # (H, W)
    best = _join_blocks(best, size)  # (H, W)
    mask_prob = np.divide(best, class_probs[owner], dtype=np.float32)
    return PixelAssignment(owner, mask_prob, mask_area)


def _block_maximum(padded: Floats) -> Floats:
    """The maximum of each block with its border: (N, rows, columns)."""
    highest = padded
    for axis in (1, 2):
        length = highest.shape[axis] - 2  # of all blocks without the border
        shifted = []
        for step in range(BLOCK + 2):
            index = np.arange(step, step + length, BLOCK)
            shifted.append(highest.take(index, axis=axis))
        highest = np.maximum.reduce(shifted)
    return highest


def _blocks_inside(size: Size, grid: tuple[int, int], side: int) -> npt.NDArray[np.bool_]:
    """Which pixels of each block are in the image: (rows, columns, side, side)."""
    row, column = grid
    is_inside_y = (np.arange(row * side) < size[0]).reshape(row, 1, side, 1)
    is_inside_x = (np.arange(column * side) < size[1]).reshape(1, column, 1, side)
    return is_inside_y & is_inside_x


def _join_blocks(blocks: npt.NDArray[Any], size: Size) -> npt.NDArray[Any]:
    """The map (H, W) of the values (rows, columns, side, side) of all blocks."""
    num_rows, num_columns, side, _ = blocks.shape
    whole = blocks.swapaxes(1, 2).reshape(num_rows * side, num_columns * side)
    return whole[: size[0], : size[1]]


def _interpolation_weights() -> Floats:
    """Weights for bilinear upsampling of a block with a border of 1: (4 * BLOCK, BLOCK + 2)."""
    pixel = np.arange(MASK_STRIDE * BLOCK)
    position = (pixel + 0.5) / MASK_STRIDE + 0.5  # in mask pixels; 0 is the middle of the border
    distance = np.abs(position[:, None] - np.arange(BLOCK + 2))
    weights: Floats = np.maximum(1 - distance, 0).astype(np.float32)
    return weights


def _sigmoid(logits: Floats) -> Floats:
    """In place; exp of a large logit is infinite, and its probability 0."""
    np.negative(logits, out=logits)
    with np.errstate(over="ignore"):
        np.exp(logits, out=logits)
    logits += 1
    return np.reciprocal(logits, out=logits)


def softmax(logits: Floats) -> Floats:
    """Probabilities along the last axis."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probs: Floats = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return probs


def vote_for_classes(
    class_logits: Floats, mask_logits: Floats, pixels: Ints, width: int, temperature: float = 1.0
) -> tuple[Ints, Floats]:
    """The class with the most votes in some pixels, and its share of all votes.

    Each query votes for a class with the product of class probability and mask probability.
    Mask logits are interpolated, as in the loss, and not probabilities or votes: these are close to
    0 or 1 in most mask pixels, so that the edge between two of them would be lost.

    Args:
        class_logits: (Q, K + 1).
        mask_logits: (Q, H/4, W/4).
        pixels: (N,) indices y * W + x, ascending.
        width: W.
        temperature: divides the logarithms of the votes; the classes do not depend on it.

    Returns:
        class indices (N,) and shares of the votes (N,) float32.
    """
    classes = np.empty(len(pixels), np.int64)
    shares = np.empty(len(pixels), np.float32)
    start = 0
    for votes in class_votes(class_logits, mask_logits, pixels, width):
        row = slice(start, start + votes.shape[1])
        classes[row] = votes.argmax(axis=0)
        if temperature != 1:
            highest = np.maximum(votes.max(axis=0), np.finfo(votes.dtype).tiny)
            votes = (votes / highest) ** np.float32(1 / temperature)
        total = np.maximum(votes.sum(axis=0), np.finfo(votes.dtype).tiny)
        shares[row] = votes.max(axis=0) / total
        start = row.stop
    return classes, shares


def class_votes(
    class_logits: Floats, mask_logits: Floats, pixels: Ints, width: int
) -> Iterator[Floats]:
    """The votes of all queries for the classes of some pixels, see `vote_for_classes`.

    Yields:
        (K, n) float32 of the pixels in a row of the image, in order.
    """
    height = int(pixels[-1]) // width + 1 if len(pixels) else 0
    _, mask_height, mask_width = mask_logits.shape
    class_probs = softmax(class_logits)[:, :-1].T  # (K, Q)
    top, bottom, weight_y = _neighbours(np.arange(height), mask_height)  # (H,) each
    left, right, weight_x = _neighbours(np.arange(width), mask_width)  # (W,) each
    row_starts = np.searchsorted(pixels, width * np.arange(height + 1))
    for y in np.diff(row_starts).nonzero()[0]:
        x = pixels[row_starts[y] : row_starts[y + 1]] - y * width
        logits = _mix(mask_logits[:, top[y]], mask_logits[:, bottom[y]], weight_y[y])  # (Q, W/4)
        start = logits.take(left[x], axis=1)
        end = logits.take(right[x], axis=1)
        yield class_probs @ _sigmoid(_mix(start, end, weight_x[x]))  # (K, n)


def _neighbours(pixel: Ints, length: int) -> tuple[Ints, Ints, Floats]:
    """The mask pixels (N,) before and after a pixel along an axis, and the weight of the second."""
    position = (pixel + 0.5) / MASK_STRIDE - 0.5
    position = np.clip(position, 0, length - 1)
    first = position.astype(np.int64)
    second = np.minimum(first + 1, length - 1)
    return first, second, (position - first).astype(np.float32)


def _mix(start: Floats, end: Floats, weight: Floats) -> Floats:
    """The weighted mean of two arrays, with the weight of the second."""
    mixed = end - start
    mixed *= weight
    mixed += start
    return mixed
