"""The Lovasz-Softmax loss, a convex extension of the intersection over union."""

import torch
from torch import Tensor, nn

from maskmill.canonical.categories import IGNORE_INDEX
from maskmill.losses.outputs import ClassOutputs
from maskmill.losses.semantic import Batch, Terms, Weight


class Lovasz(nn.Module):
    """The Lovasz extension of 1 - IoU, averaged over the classes present in the batch.

    Berman et al., CVPR 2018 (arXiv:1705.08790). Equal to the authors' code, which
    segmentation_models_pytorch contains, except for two of its faults: without labels it returns an
    empty tensor instead of 0, and it subtracts neighbouring values near 1 in float32, which leaves
    a single digit for a million pixels.

    Args:
        weight: factor of the term.

    Example:
        >>> logits = torch.tensor([[0.8, 0.4], [0.2, 0.6]]).log().reshape(1, 2, 1, 2)
        >>> target = torch.tensor([[[0, 1]]], dtype=torch.uint8)
        >>> Lovasz()({"semantic": logits}, {"semantic": target})
        {'lovasz': tensor(0.3500)}
    """

    def __init__(self, weight: Weight = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, outputs: ClassOutputs, batch: Batch) -> Terms:
        """The loss of `semantic` logits (B, K, H, W): one scalar, 0 if no pixel is labelled."""
        labelled = batch["semantic"] != IGNORE_INDEX
        probs = outputs["semantic"].float().softmax(dim=1).movedim(1, -1)[labelled]  # (P, K)
        target = batch["semantic"][labelled]  # (P,)
        present = target.unique().tolist()
        losses = [_class_loss(probs[:, index], target == index) for index in present]
        mean = torch.stack(losses).mean() if losses else probs.sum()  # of no values: 0
        return {"lovasz": self.weight * mean}


def _class_loss(probs: Tensor, is_class: Tensor) -> Tensor:
    """The loss of one class: probabilities and membership of pixels (P,) to a scalar."""
    errors, order = torch.where(is_class, 1 - probs, probs).sort(descending=True)
    # `dot`, which autocast leaves in float32; `@` would round both to 16 bits.
    return errors.dot(_gradient(is_class[order]).to(errors.dtype))


def _gradient(is_class: Tensor) -> Tensor:
    """How much 1 - IoU grows with each further misclassified pixel, the largest error first.

    Algorithm 1 of the paper: membership of the sorted pixels (P,) to (P,) float64.
    """
    num_missed = is_class.cumsum(0).double()  # pixels of the class, so far
    union = num_missed[-1] + (~is_class).cumsum(0)
    loss = 1 - (num_missed[-1] - num_missed) / union
    return torch.diff(loss, prepend=loss.new_zeros(1))
