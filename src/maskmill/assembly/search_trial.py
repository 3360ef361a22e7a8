"""A job of a search: it reports to the study while it trains, in one process or in several."""

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
from omegaconf import DictConfig
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial

from maskmill.assembly.latency import measure_latency_ms
from maskmill.assembly.search_settings import (
    LATENCY,
    SIZE,
    SearchSettings,
    plain_settings,
    search_settings,
)
from maskmill.assembly.study import JOB, PRUNED, STORAGE_ERRORS, note_alive, open_storage
from maskmill.canonical.png import RGB
from maskmill.tracking.abandoned import this_process
from maskmill.training.pruning import TRIAL_VARIABLE

log = logging.getLogger(__name__)

NUM_RUNS = 20  # measurements of the latency, whose median counts


class SearchTrial:
    """A trial of a study, in the process that trains it.

    Args:
        settings: of the search.
        number: of the trial.
    """

    def __init__(self, settings: SearchSettings, number: int) -> None:
        self.settings = settings
        self.number = number
        self.has_warned = False

    @classmethod
    def begin(cls, hydra: DictConfig) -> "SearchTrial":
        """Announce to the processes of a job that they train a trial.

        Args:
            hydra: Hydra's own configuration of the job.
        """
        content = {
            "reports": f"{__name__}:{cls.__name__}.announced",
            "settings": plain_settings(hydra),
            "number": hydra.job.num,
        }
        os.environ[TRIAL_VARIABLE] = json.dumps(content)
        trial = cls.announced(content)
        trial.keep({JOB: this_process()})
        return trial

    @classmethod
    def announced(cls, content: Mapping[str, Any]) -> "SearchTrial":
        """The trial that `begin` has announced, in a process that trains it."""
        return cls(search_settings(content["settings"]), content["number"])

    @staticmethod
    def withdraw() -> None:
        """Let the next training of this process belong to no search."""
        os.environ.pop(TRIAL_VARIABLE, None)

    def end(self) -> bool:
        """Withdraw the announcement; returns whether the training was ended early."""
        self.withdraw()
        with self._surviving():
            self.keep({JOB: ""})
            return bool(self.frozen.user_attrs.get(PRUNED))
        return False

    @cached_property
    def study(self) -> optuna.Study:
        """The study, which other processes use too."""
        return optuna.load_study(
            study_name=self.settings.study_name,
            storage=open_storage(self.settings.storage),
            sampler=RandomSampler(),
            pruner=self.settings.pruner,
        )

    @property
    def frozen(self) -> FrozenTrial:
        """The trial as the storage has it now."""
        return self.study.get_trials(deepcopy=False)[self.number]

    def report(self, validation: int, score: float) -> None:
        """Keep the score of a validation, counted from 1."""
        with self._surviving():
            storage = self.study._storage
            trial_id = self.frozen._trial_id
            storage.set_trial_intermediate_value(trial_id, validation, score)
            note_alive(storage, trial_id)

    def falls_behind(self) -> bool:
        """Does the pruner of the search say that the trial should end?"""
        with self._surviving():
            return not self.settings.has_several_objectives and self.study.pruner.prune(
                self.study, self.frozen
            )
        return False

    def measure(self, model: Path, image: RGB) -> None:
        """Keep the objectives that are measured with the trained model.

        Args:
            model: its folder.
            image: (H, W, 3) uint8 RGB.
        """
        objectives = self.settings.objectives
        if LATENCY in objectives:
            size = image.shape[:2]
            self.keep({LATENCY: measure_latency_ms(str(model), image, size, NUM_RUNS)})
        if SIZE in objectives:
            num_bytes = sum(path.stat().st_size for path in model.glob("*.safetensors"))
            self.keep({SIZE: num_bytes / 1_000_000})

    def keep_pruned(self) -> None:
        """Keep that the trial ended early."""
        self.keep({PRUNED: True})

    def keep(self, values: Mapping[str, Any]) -> None:
        """Keep what the search needs beside the score, as objectives or that it was pruned."""
        for name, value in values.items():
            self.study._storage.set_trial_user_attr(self.frozen._trial_id, name, value)

    @contextmanager
    def _surviving(self) -> Iterator[None]:
        """A training does not end because the storage of its search is down."""
        try:
            yield
        except STORAGE_ERRORS as error:
            if not self.has_warned:
                reason = " ".join(str(error).split())
                log.warning("trial %d cannot report its scores: %s", self.number, reason)
            self.has_warned = True
