"""Deep supervision: the same loss for the final logits and for auxiliary logits."""

from torch import nn

from maskmill.losses.outputs import AuxiliaryOutputs
from maskmill.losses.semantic import Batch, Terms, Weight


class WithAuxiliary(nn.Module):
    """A loss of the `semantic` logits, plus the weighted loss of the `auxiliary` logits.

    Networks have auxiliary logits only in training.

    Args:
        loss: a loss of class logits.
        weight: factor of the auxiliary terms; 0.4 in Zhao et al., PSPNet (arXiv:1612.01105),
            sec. 3.3.

    Example:
        >>> import torch
        >>> from maskmill.losses.semantic import CrossEntropy
        >>> logits = torch.tensor([[2.0], [0.0]]).reshape(1, 2, 1, 1)
        >>> target = torch.zeros(1, 1, 1, dtype=torch.uint8)
        >>> outputs = {"semantic": logits, "auxiliary": logits}
        >>> WithAuxiliary(CrossEntropy(), weight=0.5)(outputs, {"semantic": target})
        {'cross_entropy': tensor(0.1269), 'auxiliary_cross_entropy': tensor(0.0635)}
    """

    def __init__(self, loss: nn.Module, *, weight: Weight = 0.4) -> None:
        super().__init__()
        self.loss = loss
        self.weight = weight

    def forward(self, outputs: AuxiliaryOutputs, batch: Batch) -> Terms:
        """The terms of the loss, and those of the auxiliary logits as `auxiliary_<name>`."""
        terms: Terms = self.loss(outputs, batch)
        if "auxiliary" not in outputs:
            return terms
        auxiliary_terms: Terms = self.loss({"semantic": outputs["auxiliary"]}, batch)
        for name, value in auxiliary_terms.items():
            terms[f"auxiliary_{name}"] = self.weight * value
        return terms
