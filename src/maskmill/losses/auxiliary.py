"""Deep supervision: a loss of the network's last logits, and the same of those it gives on the way."""

from collections.abc import Mapping

from torch import Tensor, nn

from maskmill.losses.semantic import Batch, Terms


class WithAuxiliary(nn.Module):
    """A loss over `semantic`, and a share of it over the `auxiliary` logits that networks give in training.

    Args:
        loss: of class logits.
        weight: of the auxiliary terms; 0.4 in Zhao et al., PSPNet (arXiv:1612.01105), sec. 3.3.

    Raises:
        ValueError: a negative weight.
    """

    def __init__(self, loss: nn.Module, *, weight: float = 0.4) -> None:
        super().__init__()
        if not weight >= 0:  # NaN is refused too
            raise ValueError(
                f"Expected argument `weight` of at least 0, but got {weight} - mend conf/loss"
            )
        self.loss, self.weight = loss, weight

    def forward(self, outputs: Mapping[str, Tensor], batch: Batch) -> Terms:
        """The terms of the loss, and in training those of the auxiliary logits as `auxiliary_<name>`."""
        terms: Terms = self.loss(outputs, batch)
        if "auxiliary" not in outputs:
            return terms
        more: Terms = self.loss({"semantic": outputs["auxiliary"]}, batch)
        return terms | {f"auxiliary_{name}": self.weight * value for name, value in more.items()}
