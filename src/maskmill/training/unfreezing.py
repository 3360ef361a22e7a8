"""Fine-tuning of a pretrained encoder: its stages start to train one after another."""

import logging
from typing import Annotated

from annotated_types import Ge
from lightning import Callback, LightningModule, Trainer
from torch import nn
from torch.optim import Optimizer

from maskmill.networks.layers import learned_parameters

log = logging.getLogger(__name__)


class GradualUnfreezing(Callback):
    """Freeze the encoder at first, then unfreeze its stages from the last to the stem.

    Howard and Ruder, arXiv:1801.06146, sec. 3.3. The frozen stages depend on the epoch alone, so a
    resumed run has the same. The gradients of frozen stages are computed and dropped, which keeps
    processes in step (DDP averages every gradient): this protects features, but saves no time;
    `encoder.frozen_stages` does.

    Args:
        start_epoch: the first epoch in which the last stage trains.
        every_n_epochs: interval between stages; 0 unfreezes all at once.
    """

    def __init__(
        self,
        start_epoch: Annotated[int, Ge(0)] = 1,
        every_n_epochs: Annotated[int, Ge(0)] = 1,
    ) -> None:
        self.start_epoch = start_epoch
        self.every_n_epochs = every_n_epochs

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Freeze the batch statistics of frozen stages, and update those of the others."""
        frozen = self._frozen_parameters(trainer, pl_module)
        frozen_ids = {id(parameter) for parameter in frozen}
        for module in pl_module.modules():
            if isinstance(module, nn.BatchNorm2d) and module.affine:
                module.train(id(module.weight) not in frozen_ids)
        log.info("epoch %d: %d encoder tensors are frozen", trainer.current_epoch + 1, len(frozen))

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Drop the gradients of frozen stages, before gradient clipping."""
        for parameter in self._frozen_parameters(trainer, pl_module):
            parameter.grad = None

    def _frozen_parameters(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> list[nn.Parameter]:
        network = pl_module.network
        assert isinstance(network, nn.Module)
        staged: list[tuple[nn.Parameter, int]] = []
        for parameter, stage, _ in learned_parameters(network):
            if stage is not None:
                staged.append((parameter, stage))
        last_stage = max((stage for _, stage in staged), default=0)
        frozen = []
        for parameter, stage in staged:
            first_epoch = self.start_epoch + (last_stage - stage) * self.every_n_epochs
            if trainer.current_epoch < first_epoch:
                frozen.append(parameter)
        return frozen
