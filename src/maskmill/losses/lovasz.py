"""The Lovasz-Softmax loss: the intersection over union itself, made convex."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from maskmill.canonical.categories import IGNORE_INDEX
from maskmill.losses.semantic import Batch, Terms


class Lovasz(nn.Module):
    """The Lovasz extension of 1 - IoU, averaged over the classes present in the batch (Berman et al., CVPR 2018, arXiv:1705.08790).

    Equal to the authors' code, which segmentation_models_pytorch carries, but for two of its faults: without a label it gives an empty
    tensor instead of 0, and it takes differences of neighbours near 1 in float32, of which a million pixels leave one digit.

    Args:
        weight: factor of the term.

    Raises:
        ValueError: a negative weight.
    """

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        if not weight >= 0:  # NaN is refused too
            raise ValueError(
                f"Expected argument `weight` of at least 0, but got {weight} - mend conf/loss"
            )
        self.weight = weight

    def forward(self, outputs: Mapping[str, Tensor], batch: Batch) -> Terms:
        """Logits (B, K, H, W) against `semantic` (B, H, W) uint8: one scalar, 0 where no pixel is labelled."""
        labelled = batch["semantic"] != IGNORE_INDEX
        probs = outputs["semantic"].float().softmax(dim=1).movedim(1, -1)[labelled]  # (P, K)
        target = batch["semantic"][labelled]  # (P,)
        losses = [
            _class_loss(probs[:, index], target == index) for index in target.unique().tolist()
        ]
        return {
            "lovasz": self.weight * (torch.stack(losses).mean() if losses else probs.sum())
        }  # the sum of nothing is 0


def _class_loss(probs: Tensor, is_class: Tensor) -> Tensor:
    """Probability of one class and membership, (P,) each, to a scalar."""
    errors, order = torch.where(is_class, 1 - probs, probs).sort(descending=True)
    return errors @ _gradient(is_class[order]).to(errors.dtype)


def _gradient(is_class: Tensor) -> Tensor:
    """How much 1 - IoU grows as the pixels (P,), largest error first, are got wrong one after the other: alg. 1, (P,) float64."""
    missed = is_class.cumsum(0).double()  # of the class, so far
    union = missed[-1] + (~is_class).cumsum(0)
    lost = 1 - (missed[-1] - missed) / union
    return torch.diff(lost, prepend=lost.new_zeros(1))
