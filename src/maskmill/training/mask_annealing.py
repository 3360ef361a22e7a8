"""EoMT learns with masked attention and predicts without: the masks go block by block (Kerssies et al., arXiv:2503.19108, sec. 3.4)."""

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from maskmill.data.dataset import Batch


class MaskAnnealing(Callback):
    """Lower the probability of masked attention from 1 to 0 in one block after the other, a function of the step alone.

    Of N blocks, block n (from 0) goes from 1 to 0 between the fractions (n + 1) / (N + 2) and (n + 2) / (N + 2) of the training, as the
    paper's own schedules do; the last part is without masks.

    Args:
        power: of the decay in each block's span; 0.9 in the paper.

    Raises:
        ValueError: a power that is not positive.
    """

    def __init__(self, power: float = 0.9) -> None:
        if not power > 0:  # NaN is refused too
            raise ValueError(
                f"Expected argument `power` above 0, but got {power} - mend conf/callbacks"
            )
        self.power = power

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a network without masked attention.

        Raises:
            ValueError: it is no EoMT.
        """
        if not isinstance(getattr(pl_module.network, "mask_probability", None), Tensor):
            raise ValueError(
                f"Expected a network with masked attention in its blocks (network=eomt), but got {type(pl_module.network).__name__} - "
                "set callbacks=default"
            )

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Set the probabilities of this step."""
        probability: Tensor = pl_module.network.mask_probability  # type: ignore[union-attr, assignment] # see on_fit_start
        done = trainer.global_step / max(1.0, float(trainer.estimated_stepping_batches))
        start = torch.arange(1, len(probability) + 1, device=probability.device)
        within = (done * (len(probability) + 2) - start).clamp(0, 1)
        probability.copy_((1 - within) ** self.power)
