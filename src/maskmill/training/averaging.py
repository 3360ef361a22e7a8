"""Averages of the weights over the training, which validation scores and the model keeps."""

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.optim.swa_utils import get_ema_avg_fn

from maskmill.data.dataset import Batch


class WeightAverage(WeightAveraging):
    """Exponential moving average over steps, or the plain mean over epochs (Izmailov et al., arXiv:1803.05407), of weights and statistics.

    Before it starts, the training's own weights are scored and kept: Lightning's classes would take those of the very beginning.

    Args:
        decay: of the moving average per step; None averages the ends of epochs.
        start_epoch: the first epoch that counts.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, *, decay: float | None, start_epoch: int = 0) -> None:
        if (decay is not None and not 0 < decay < 1) or start_epoch < 0:
            raise ValueError(
                f"Expected `decay` in (0, 1) or null and `start_epoch` of at least 0, but got {decay} and {start_epoch} - mend callbacks"
            )
        super().__init__(avg_fn=None if decay is None else get_ema_avg_fn(decay))
        self.decay, self.start_epoch = decay, start_epoch
        self._counts = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make room for the average.

        Raises:
            ValueError: the weights are sharded.
        """
        if isinstance(trainer.strategy, ModelParallelStrategy):
            raise ValueError(
                "Expected whole weights to average, but trainer=fsdp shards them - set trainer=ddp, or callbacks=default"
            )
        super().setup(trainer, pl_module, stage)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Is this the end of a step or an epoch that counts?"""
        return self._counts and (epoch_idx if self.decay is None else step_idx) is not None

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Update after a step."""
        self._counts = trainer.current_epoch >= self.start_epoch
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Update after an epoch."""
        self._counts = trainer.current_epoch >= self.start_epoch
        super().on_train_epoch_end(trainer, pl_module)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the average in place, where there is one."""
        if self._exists:
            super().on_validation_epoch_start(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the training's own weights back."""
        if self._exists:
            super().on_validation_epoch_end(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the average."""
        if self._exists:
            super().on_train_end(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save the average as the state, and the training's own weights beside it."""
        if self._exists:
            super().on_save_checkpoint(trainer, pl_module, checkpoint)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Load both."""
        if "averaging_state" in checkpoint:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    @property
    def _exists(self) -> bool:
        return self._average_model is not None and int(self._average_model.n_averaged) > 0
