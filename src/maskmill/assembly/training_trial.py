"""What a training does beside training if it is a trial of a search.

The environment names the search, so that no training depends on its code.
"""

import json
import os
import pkgutil
from collections.abc import Sequence
from typing import cast

from lightning import Callback, Trainer

from maskmill.data.splits import open_split
from maskmill.serving.model_files import ModelFiles
from maskmill.tracking.run_logger import RunLogger
from maskmill.training.pruning import PRUNED_TAG, TRIAL_VARIABLE, Pruning, TrialReports
from maskmill.training.resume_state import TrainingState


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


def search_trial() -> TrialReports | None:
    """The trial of a search that this process trains, if it does."""
    announced = os.environ.get(TRIAL_VARIABLE)
    if announced is None:
        return None
    content = json.loads(announced)
    constructor = pkgutil.resolve_name(content["reports"])
    return cast(TrialReports, constructor(content))
