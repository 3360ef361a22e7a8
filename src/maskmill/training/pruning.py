"""Pruning: a trial of a search ends early when its score falls behind that of other trials."""

import logging
import math
from pathlib import Path
from typing import Any, Protocol

from lightning import Callback, LightningModule, Trainer

from maskmill.canonical.png import RGB
from maskmill.training.validation_schedule import is_last_batch

log = logging.getLogger(__name__)

PRUNED_TAG = "pruned"  # of a run
# Not a value of the configuration: files and runs keep that, and an address may have a password.
TRIAL_VARIABLE = "MASKMILL_TRIAL"


class TrialReports(Protocol):
    """Where a trial of a search reports; a training knows nothing else of the search."""

    def report(self, validation: int, score: float) -> None:
        """Keep the score of a validation, counted from 1."""

    def falls_behind(self) -> bool:
        """Should the trial end now?"""

    def keep_pruned(self) -> None:
        """Keep that the trial ended early."""

    def measure(self, model: Path, image: RGB) -> None:
        """Keep what the search compares beside the score.

        Args:
            model: folder of the trained model.
            image: (H, W, 3) uint8 RGB.
        """


class Pruning(Callback):
    """Reports the task's score after each validation, and stops a training that falls behind.

    Rank 0 alone reports; all processes stop together. The last epoch is not stopped, since nothing
    would be saved.

    Args:
        reports: of the trial.
    """

    def __init__(self, reports: TrialReports) -> None:
        self.reports = reports
        self.has_pruned = False
        self._num_validations = 0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report, and stop."""
        if trainer.sanity_checking or self.has_pruned:
            return
        self._num_validations += 1
        falls_behind = False
        if trainer.is_global_zero:
            score = float(trainer.callback_metrics[str(pl_module.monitor)])
            # An undefined score is the worst one.
            self.reports.report(self._num_validations, 0.0 if math.isnan(score) else score)
            is_last = is_last_batch(trainer, trainer.fit_loop.batch_idx)
            falls_behind = not is_last and self.reports.falls_behind()
        if trainer.strategy.reduce_boolean_decision(falls_behind, all=False):
            self.has_pruned = trainer.should_stop = True
            log.info("pruned after %d validations", self._num_validations)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training continues with."""
        return {"num_validations": self._num_validations, "has_pruned": self.has_pruned}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the count of an earlier start."""
        self._num_validations = state_dict["num_validations"]
        self.has_pruned = state_dict["has_pruned"]
