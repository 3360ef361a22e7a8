"""Batch norms that train with the statistics of prediction."""

from typing import Annotated

from annotated_types import Interval
from lightning import Callback, LightningModule, Trainer
from torch.nn.modules.batchnorm import _BatchNorm


class FrozenStatistics(Callback):
    """Batch norms use and keep their running statistics in the last part of a training.

    Until then they use those of the batch. Where images differ much, a batch that contains a rare
    kind has other statistics than prediction uses for it, and the network learns that kind for the
    former only. The weights of the batch norms are trained on, and the network adapts to the
    statistics of prediction. Chen et al. (arXiv:1706.05587, sec. 4.1) freeze the batch norms of
    DeepLabv3 after half of the steps.

    Args:
        start: share of the epochs from which on they are kept.
    """

    def __init__(self, start: Annotated[float, Interval(ge=0, lt=1)] = 0.6) -> None:
        self.start = start

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Switch the batch norms to evaluation, after Lightning has switched all to training."""
        num_epochs = trainer.max_epochs or -1
        if num_epochs < 0 or trainer.current_epoch < self.start * num_epochs:
            return
        for module in pl_module.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
