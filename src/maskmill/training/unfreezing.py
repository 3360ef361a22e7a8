"""Fine-tuning from the decoder downwards: the encoder's stages join the training one after another."""

import logging
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import nn
from torch.optim import Optimizer

from maskmill.networks.layers import learned_parameters

log = logging.getLogger(__name__)


class GradualUnfreezing(Callback):
    """Keep the encoder as it is at first, then let its stages learn from the last to the stem (arXiv:1801.06146, sec. 3.3).

    What is frozen is a function of the epoch alone, so a resumed training goes on exactly. Gradients of frozen stages are dropped, not
    spared, which keeps processes in step (DDP averages every gradient): this guards features, but saves no time as `encoder.frozen_stages`
    does.

    Args:
        start_epoch: the first epoch in which the last stage learns.
        every_n_epochs: from one stage to the next; 0 frees all at once.

    Raises:
        ValueError: a negative number.
    """

    def __init__(self, start_epoch: int = 1, every_n_epochs: int = 1) -> None:
        if start_epoch < 0 or every_n_epochs < 0:
            raise ValueError(
                f"Expected `start_epoch` and `every_n_epochs` of at least 0, but got {start_epoch} and {every_n_epochs} - "
                "mend conf/callbacks"
            )
        self.start_epoch, self.every_n_epochs = start_epoch, every_n_epochs

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the statistics of frozen stages; those of the others run."""
        frozen = self._frozen(trainer, pl_module)
        ids = {id(parameter) for parameter in frozen}
        for module in pl_module.modules():
            own = [id(parameter) for parameter in module.parameters(recurse=False)]
            if isinstance(module, nn.BatchNorm2d) and own:
                module.train(own[0] not in ids)
        log.info("epoch %d: %d encoder tensors are frozen", trainer.current_epoch + 1, len(frozen))

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Drop the gradients of frozen stages, before clipping sees them."""
        for parameter in self._frozen(trainer, pl_module):
            parameter.grad = None

    def _frozen(self, trainer: Trainer, pl_module: LightningModule) -> list[nn.Parameter]:
        network: Any = pl_module.network
        staged = [
            (parameter, stage)
            for parameter, stage, _ in learned_parameters(network)
            if stage is not None
        ]
        last = max((stage for _, stage in staged), default=0)
        return [
            parameter
            for parameter, stage in staged
            if trainer.current_epoch < self.start_epoch + (last - stage) * self.every_n_epochs
        ]
