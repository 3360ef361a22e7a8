"""Queries to segments: what mask classification (Mask2Former, EoMT) says of an image (Cheng et al., arXiv:2107.06278, sec. 3.4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.postprocess.prediction import Prediction
from maskmill.postprocess.semantic import ClassTable, SemanticSegments

MASK_STRIDE = 4  # masks have a quarter of the image's size
BLOCK = 8  # side in mask pixels of the squares in which masks are compared
MAX_PROBS = 2**20  # of masks, held at once: more than a CPU keeps near is slower


@dataclass(frozen=True)
class Found:
    """Segments of one image: the number of each pixel (H, W), 0 = none, and per segment class index (N,) and score (N,)."""

    numbers: Tensor
    classes: Tensor
    scores: Tensor


class SemanticMasks:
    """The likeliest class of each pixel, each query voting with its mask; every class present is one segment.

    Args:
        categories: the data set's table.
    """

    def __init__(self, *, categories: Categories) -> None:
        self.segments = SemanticSegments(categories=categories)
        self.table = self.segments.table

    @torch.inference_mode()
    def __call__(
        self, outputs: Mapping[str, Tensor], sizes: Sequence[tuple[int, int]]
    ) -> list[Prediction]:
        """`class_logits` (B, Q, K + 1), `mask_logits` (B, Q, H/4, W/4) and the sizes within the batch to predictions."""
        parts = zip(
            outputs["class_logits"].float(), outputs["mask_logits"].float(), sizes, strict=True
        )
        return [self._predict(classes, masks, size) for classes, masks, size in parts]

    def _predict(
        self, class_logits: Tensor, mask_logits: Tensor, size: tuple[int, int]
    ) -> Prediction:
        everywhere = torch.arange(size[0] * size[1], device=mask_logits.device)
        classes, confidence = likeliest_at(class_logits, mask_logits, everywhere, size[1])
        return self.segments(
            {"classes": classes.view(1, *size), "confidence": confidence.view(1, *size)}, [size]
        )[0]


class PanopticMasks:
    """Each pixel joins the surest query whose mask covers it; queries that lose most of their mask are dropped, stuff of a class is one.

    A query keeps what it wins of its own mask, as in EoMT's code; Mask2Former's also counts pixels it wins outside.

    Args:
        threshold: least probability of a query's class; 0.8 in the paper. Lower gives more, less certain instances, as AP rewards.
        overlap: least share of its mask that a query keeps against the others; 0.8 in the paper.
        min_area_px: smaller instances become void.
        stuff_area_px: smaller stuff segments become void.
        keep_stuff: False leaves things only, for instance segmentation.
        categories: the data set's table.

    Raises:
        ValueError: a number is out of range.
    """

    def __init__(
        self,
        *,
        threshold: float,
        overlap: float,
        min_area_px: int,
        stuff_area_px: int,
        keep_stuff: bool = True,
        categories: Categories,
    ) -> None:
        if not (0 <= threshold < 1 and 0 <= overlap <= 1 and min(min_area_px, stuff_area_px) >= 0):
            raise ValueError(
                f"Expected `threshold` in [0, 1), `overlap` in 0..1 and areas of at least 0, "
                f"but got {threshold}, {overlap}, {min_area_px} and {stuff_area_px} - mend task.postprocess"
            )
        self.threshold, self.overlap, self.keep_stuff = threshold, overlap, keep_stuff
        self.min_area_px, self.stuff_area_px = max(min_area_px, 1), max(stuff_area_px, 1)
        self.table = ClassTable(categories)
        self._is_thing = torch.tensor(
            [
                *categories.isthing.tolist(),
                *([False] if categories.background_index is not None else []),
            ]
        )

    @torch.inference_mode()
    def __call__(
        self, outputs: Mapping[str, Tensor], sizes: Sequence[tuple[int, int]]
    ) -> list[Prediction]:
        """`class_logits` (B, Q, K + 1), `mask_logits` (B, Q, H/4, W/4) and the sizes within the batch to predictions."""
        parts = zip(
            outputs["class_logits"].float(), outputs["mask_logits"].float(), sizes, strict=True
        )
        return [self._predict(classes, masks, size) for classes, masks, size in parts]

    def _predict(
        self, class_logits: Tensor, mask_logits: Tensor, size: tuple[int, int]
    ) -> Prediction:
        found = self.find(class_logits, mask_logits, size)
        ids = found.numbers.cpu().numpy().astype(np.int32)
        category_of = {
            n: int(self.table.category_ids[index])
            for n, index in enumerate(found.classes.tolist(), start=1)
        }
        scores = dict(enumerate(found.scores.tolist(), start=1))
        numbers = found.numbers.flatten()
        semantic = F.pad(found.classes, (1, 0)).index_select(0, numbers)  # (H W,)
        empty = (numbers == 0).nonzero().squeeze(1)
        semantic[empty] = likeliest_at(class_logits, mask_logits, empty, size[1])[0]
        return Prediction(
            self.table.category_map(semantic.view(size)),
            Panoptic.from_ids(ids, category_of, scores=scores),
        )

    def find(self, class_logits: Tensor, mask_logits: Tensor, size: tuple[int, int]) -> Found:
        """Segments of one image from class logits (Q, K + 1) and mask logits (Q, H/4, W/4), without a loop over queries."""
        is_thing = self._is_thing.to(class_logits.device)
        sure, classes = class_logits.softmax(dim=1).max(dim=1)  # (Q,)
        chosen = ((classes < len(is_thing)) & (sure > self.threshold)).nonzero().squeeze(1)
        sure, classes = sure[chosen], classes[chosen]
        if not len(chosen):
            return Found(torch.zeros(size, dtype=torch.long, device=classes.device), classes, sure)
        owner, prob, area = surest(mask_logits[chosen], sure, size)
        owner = torch.where(
            prob >= 0.5, owner, len(chosen)
        ).flatten()  # a last query has what is inside of none
        pixels = torch.bincount(owner, minlength=len(chosen) + 1)[:-1]
        kept = (pixels >= self.overlap * area) & (area > 0)
        mass = torch.bincount(owner, prob.flatten().double(), minlength=len(chosen) + 1)[:-1] * sure
        # Segments: a thing is its query, stuff its class; classes come after all queries.
        segment = torch.where(
            is_thing[classes],
            torch.arange(len(chosen), device=classes.device),
            len(chosen) + classes,
        )
        total = len(chosen) + len(is_thing)
        pixels, mass = (
            torch.zeros(total, dtype=v.dtype, device=v.device).index_add(0, segment, v * kept)
            for v in (pixels, mass)
        )
        least = torch.full((total,), self.stuff_area_px, device=pixels.device)
        least[: len(chosen)] = self.min_area_px
        large = pixels >= least
        if not self.keep_stuff:
            large[len(chosen) :] = False
        number = large.cumsum(dim=0) * large  # (N + K,), 1.. for segments that stay
        class_of = torch.cat([classes, torch.arange(len(is_thing), device=classes.device)])
        numbers = F.pad(number[segment] * kept, (0, 1)).index_select(0, owner).view(size)
        return Found(numbers, class_of[large], mass[large] / pixels[large])


def surest(
    mask_logits: Tensor, sure: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """The query with the largest product of mask and class probability in each pixel.

    Masks are interpolated only in blocks where they could win: where a mask is nowhere above half of the least class probability over
    the largest, it is neither inside itself nor can it take a pixel from one that is.

    Args:
        mask_logits: (N, H/4, W/4), N of at least 1.
        sure: (N,), probabilities of the queries' classes.
        size: H and W.

    Returns:
        the query of each pixel (H, W), the probability of its mask there (H, W), 0 where there is no such query, and the pixels of each
        mask alone (N,), those of at least 1/2.
    """
    least = torch.logit(0.5 * sure.min() / sure.max())
    height, width = mask_logits.shape[1:]
    padding = (1, 1 + -width % BLOCK, 1, 1 + -height % BLOCK)
    padded = F.pad(mask_logits[None], padding, mode="replicate")[
        0
    ]  # interpolation at the edge repeats it
    query, row, column = (F.max_pool2d(padded, BLOCK + 2, stride=BLOCK) >= least).nonzero(
        as_tuple=True
    )  # (P,) each, of blocks
    rows, columns = -(-height // BLOCK), -(-width // BLOCK)
    step = torch.arange(BLOCK + 2, device=padded.device)
    patches = padded[
        query[:, None, None],
        (BLOCK * row[:, None] + step)[:, :, None],
        (BLOCK * column[:, None] + step)[:, None],
    ]
    weights = _interpolation(padded)  # (T, BLOCK + 2)
    side = len(weights)
    probs = (weights @ patches @ weights.T).sigmoid_()  # (P, T, T)
    probs *= (side * row[:, None] + torch.arange(side, device=row.device) < size[0])[
        :, :, None
    ]  # what lies beyond the image is no pixel
    probs *= (side * column[:, None] + torch.arange(side, device=row.device) < size[1])[:, None]
    probs = probs.flatten(1)  # (P, T T)
    area = torch.zeros_like(sure, dtype=torch.long).index_add(0, query, (probs >= 0.5).sum(dim=1))
    place = (row * columns + column)[:, None].expand_as(probs)
    weighted = probs * sure[query][:, None]
    best = torch.zeros(rows * columns, side**2, device=sure.device).scatter_reduce_(
        0, place, weighted, reduce="amax"
    )
    first = torch.where(
        weighted == best.gather(0, place), query[:, None], len(sure)
    )  # of equals the first
    owner = torch.full_like(best, len(sure), dtype=torch.long).scatter_reduce_(
        0, place, first, reduce="amin"
    )
    maps = (
        (values.view(rows, columns, side, side).transpose(1, 2).flatten(2).flatten(0, 1))
        for values in (owner, best)
    )
    owner, best = (values[: size[0], : size[1]] for values in maps)
    owner = owner.clamp(max=len(sure) - 1)
    return owner, best / sure[owner], area


def _interpolation(like: Tensor) -> Tensor:
    """Bilinear weights of a block with a border of one, for its pixels: (4 BLOCK, BLOCK + 2)."""
    basis = torch.eye(BLOCK + 2, dtype=like.dtype, device=like.device)[
        None
    ]  # (1, BLOCK + 2, BLOCK + 2), a map a row
    return F.interpolate(basis, scale_factor=MASK_STRIDE, mode="linear", align_corners=False)[
        0, :, MASK_STRIDE:-MASK_STRIDE
    ].T


def likeliest_at(
    class_logits: Tensor, mask_logits: Tensor, pixels: Tensor, width: int
) -> tuple[Tensor, Tensor]:
    """The class with the most votes in some pixels: each query gives its classes' probabilities times that of its mask.

    Logits are interpolated, as in the loss, and not probabilities or votes: these are 0 or 1 in most mask pixels and know no edge between.

    Args:
        class_logits: (Q, K + 1).
        mask_logits: (Q, H/4, W/4).
        pixels: (P,), y W + x.
        width: W.

    Returns:
        class indices (P,) and their shares of the votes (P,) float32.
    """
    probs = class_logits.softmax(dim=1)[:, :-1].T  # (K, Q)
    size = MASK_STRIDE * torch.tensor(
        [mask_logits.shape[2], mask_logits.shape[1]], device=pixels.device
    )
    classes, shares = torch.empty_like(pixels), torch.empty(len(pixels), device=pixels.device)
    most = max(1, MAX_PROBS // len(mask_logits))
    for begin in range(0, len(pixels), most):
        part = slice(begin, begin + most)
        middles = (
            2 * torch.stack([pixels[part] % width, pixels[part] // width], dim=1) + 1
        )  # (P, 2), x y
        places = (middles / size - 1)[None, :, None]  # in -1..1
        inside = F.grid_sample(
            mask_logits[None], places, padding_mode="border", align_corners=False
        )[0, :, :, 0].sigmoid_()  # (Q, P)
        votes = probs @ inside  # (K, P)
        highest, classes[part] = votes.max(dim=0)
        shares[part] = highest / votes.sum(dim=0).clamp(min=torch.finfo(votes.dtype).tiny)
    return classes, shares
