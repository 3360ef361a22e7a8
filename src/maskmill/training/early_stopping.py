"""Early stopping on the task's own score."""

from typing import Annotated

from annotated_types import Ge
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping


class StopWhenFlat(EarlyStopping):
    """Stop the training when the task's score (`monitor` of the task) no longer rises.

    An undefined score is no rise.

    To watch another value, configure Lightning's own `EarlyStopping` with that `monitor`.

    Args:
        patience: number of validations without an improvement after which the training stops.
        min_delta: smallest rise that counts as an improvement.
    """

    def __init__(
        self,
        *,
        patience: Annotated[int, Ge(0)] = 3,
        min_delta: Annotated[float, Ge(0)] = 0.0,
    ) -> None:
        super().__init__(
            "the task's score",
            min_delta=min_delta,
            patience=patience,
            mode="max",
            check_finite=False,  # would stop at the first NaN, an undefined score
        )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Monitor the task's score."""
        self.monitor = str(pl_module.monitor)
        super().setup(trainer, pl_module, stage)
