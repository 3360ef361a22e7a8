"""What a training does beside training if it is a trial of a search."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from lightning import Callback, Trainer

from maskmill.data.splits import open_split
from maskmill.serving.model_files import ModelFiles
from maskmill.tracking.run_logger import RunLogger
from maskmill.training.pruning import PRUNED_TAG, TRIAL_VARIABLE, Pruning
from maskmill.training.resume_state import TrainingState

if TYPE_CHECKING:
    from maskmill.assembly.search_trial import SearchTrial


class TrainingTrial:
    """The trial that the environment announces, or none: then nothing is done."""

    def __init__(self) -> None:
        self.search = search_trial()
        self._pruning = Pruning(self.search) if self.search is not None else None

    @property
    def callbacks(self) -> Sequence[Callback]:
        """The callback that reports scores."""
        return [self._pruning] if self._pruning is not None else []

    @property
    def was_pruned(self) -> bool:
        """Has the callback stopped the training, in this start or an earlier one?"""
        return self._pruning is not None and self._pruning.has_pruned

    def end_early(self, trainer: Trainer, state: TrainingState) -> None:
        """Leave no model of a pruned training, and nothing to resume from."""
        assert self.search is not None
        cast(RunLogger, trainer.logger).set_tags({PRUNED_TAG: "true"})
        state.delete()
        self.search.keep_pruned()

    def measure(self, model: ModelFiles, data: str) -> None:
        """Measure the other objectives of a trained model with the first validation image."""
        if self.search is not None:
            self.search.measure(model.folder, open_split(data, "val")[0].image)


def search_trial() -> "SearchTrial | None":
    """The trial of a search that this process trains, if it does."""
    if TRIAL_VARIABLE not in os.environ:
        return None
    from maskmill.assembly.search_trial import SearchTrial  # optuna is an extra

    return SearchTrial.from_environment()
