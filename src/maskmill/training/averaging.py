"""Averages of the weights over the training, which validation scores and the model keeps."""

from typing import Annotated, Any

from annotated_types import Ge, Interval
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.optim.swa_utils import get_ema_avg_fn

from maskmill.data.dataset import Batch


class WeightAverage(WeightAveraging):
    """Exponential moving average over steps, or mean over epochs, of weights and batch statistics.

    The mean over epochs is that of Izmailov et al., arXiv:1803.05407. Until the average starts, the
    current weights are scored and kept; Lightning's classes would use the initial weights.

    Args:
        decay: decay of the moving average per step; None takes the mean over the ends of epochs.
        start_epoch: the first epoch that is averaged.
    """

    def __init__(
        self,
        *,
        decay: Annotated[float, Interval(gt=0, lt=1)] | None,
        start_epoch: Annotated[int, Ge(0)] = 0,
    ) -> None:
        super().__init__(avg_fn=None if decay is None else get_ema_avg_fn(decay))
        self.decay = decay
        self.start_epoch = start_epoch
        self._has_started = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Allocate the average.

        Raises:
            ValueError: FSDP distributes the weights.
        """
        if isinstance(trainer.strategy, ModelParallelStrategy):
            raise ValueError(
                "Expected whole weights to average, but trainer=fsdp distributes them - "
                "either set trainer=ddp or callbacks=default"
            )
        super().setup(trainer, pl_module, stage)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Is this the end of a step or epoch that is averaged?"""
        index = epoch_idx if self.decay is None else step_idx
        return self._has_started and index is not None

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Update the average after a step."""
        self._has_started = trainer.current_epoch >= self.start_epoch
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Update the average after an epoch."""
        self._has_started = trainer.current_epoch >= self.start_epoch
        super().on_train_epoch_end(trainer, pl_module)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Swap the average in, if there is one."""
        if self._exists:
            super().on_validation_epoch_start(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Swap the current weights back in."""
        if self._exists:
            super().on_validation_epoch_end(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the average in the network."""
        if self._exists:
            super().on_train_end(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save the average as the state, and the current weights beside it."""
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
