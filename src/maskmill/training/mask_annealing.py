"""Masked attention of EoMT is switched off during training, block by block.

EoMT trains with masked attention and predicts without it (Kerssies et al., arXiv:2503.19108,
sec. 3.4).
"""

from typing import Annotated, Any

import torch
from annotated_types import Gt
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from maskmill.data.dataset import Batch


class MaskAnnealing(Callback):
    """Lower the probability of masked attention from 1 to 0, one block after the other.

    Of N blocks, block n (from 0) goes from 1 to 0 between the fractions (n + 1) / (N + 2) and
    (n + 2) / (N + 2) of the training, as in the paper's own schedules; the last steps have no
    masks. The probabilities depend on the step alone, so a resumed run has the same.

    Args:
        power: exponent of the decay in each block's interval; 0.9 in the paper.
    """

    def __init__(self, power: Annotated[float, Gt(0)] = 0.9) -> None:
        self.power = power

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a network without masked attention.

        Raises:
            ValueError: the network is not an EoMT.
        """
        if not isinstance(getattr(pl_module.network, "mask_probability", None), Tensor):
            raise ValueError(
                "Expected a network with masked attention in its blocks, but got "
                f"{type(pl_module.network).__name__} - "
                "either set network=eomt or callbacks=default"
            )

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Set the probabilities of this step."""
        network: Any = pl_module.network
        probability: Tensor = network.mask_probability  # (N,)
        num_blocks = len(probability)
        progress = trainer.global_step / max(1.0, float(trainer.estimated_stepping_batches))
        start = torch.arange(1, num_blocks + 1, device=probability.device)  # (N,)
        block_progress = (progress * (num_blocks + 2) - start).clamp(0, 1)
        probability.copy_((1 - block_progress) ** self.power)
