"""The loop of a search: Optuna proposes settings, Hydra's launcher trains them."""

import logging
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.sweeper import Sweeper
from optuna.pruners import NopPruner
from optuna.samplers import BaseSampler, BruteForceSampler
from optuna.trial import FrozenTrial, TrialState

from maskmill.assembly.launched_job import SubmissionError
from maskmill.assembly.search_settings import SCORE, SearchSettings, plain_settings, search_settings
from maskmill.assembly.search_space import parse_space
from maskmill.assembly.search_trial import SearchTrial
from maskmill.assembly.study import (
    PRUNED,
    WAIT_S,
    claim,
    is_orphan,
    open_study,
    requeue,
    requeue_abandoned,
    signs_of_life,
    study_lock,
)

log = logging.getLogger(__name__)

RETRY = "retry_of"  # attribute of a trial that repeats a failed one


class Search:
    """One start of a search; several may work on one study, one after the other or at once.

    Args:
        sweeper: of Hydra, after its setup.

    Raises:
        ValueError: a setting is wrong, or the study was made for another search.
    """

    def __init__(self, sweeper: Sweeper) -> None:
        self.sweeper = sweeper
        self.settings: SearchSettings = search_settings(plain_settings(sweeper.config.hydra))
        pruner = self.settings.pruner
        if self.settings.has_several_objectives and not isinstance(pruner, NopPruner):
            log.info("Optuna prunes no search with several objectives: every trial runs to its end")
            pruner = NopPruner()
        self.pruner = pruner
        self.failed_before: set[int] = set()

    def run(self, arguments: Sequence[str]) -> list[JobReturn]:
        """Search until the study has `n_trials`; returns the results of the jobs of this start.

        Raises:
            ValueError: the space cannot be searched, or a trial failed; the others are told then.
        """
        settings = self.settings
        given = [f"{key}={value}" for key, value in settings.params.items()]
        loader = self.sweeper.hydra_context.config_loader
        self.space = parse_space([*given, *arguments], loader)
        num_trials = self._num_trials()
        self.sweeper.validate_batch_is_legal(self.space.examples())
        self.study = open_study(
            settings.storage, settings.study_name, settings.objectives, self.pruner
        )
        self._retry_failed()
        log.info(
            "study %s in %s has %d of %d trials",
            settings.study_name,
            settings.shown_storage,
            self._num_taken(),
            num_trials,
        )
        returns = list[JobReturn]()
        while batch := self._next_batch(num_trials):
            for group in _consecutive(batch):
                returns += self._launch(group)
        self._summarize()
        return returns

    def _num_trials(self) -> int:
        """`n_trials`, but no more than a grid has settings."""
        if not isinstance(self._sampler(0), BruteForceSampler):
            return self.settings.n_trials
        if self.space.num_combinations is None:
            raise ValueError(
                "hydra/sweeper/sampler=grid: expected lists, choice() and range() alone, but got "
                "an interval - write range(START,STOP,STEP), or choose another sampler"
            )
        return min(self.settings.n_trials, self.space.num_combinations)

    def _retry_failed(self) -> None:
        """Let the failed trials of earlier starts be trained again, as new trials."""
        with study_lock(self.settings.storage):
            trials = self.study.get_trials(deepcopy=False)
            retried = {trial.user_attrs.get(RETRY) for trial in trials}
            for trial in trials:
                if trial.state != TrialState.FAIL:
                    continue
                self.failed_before.add(trial.number)
                if trial.number not in retried:
                    self.study.enqueue_trial(trial.params, user_attrs={RETRY: trial.number})

    def _num_taken(self) -> int:
        """The trials of the study that are finished, running, or have failed in this start."""
        taken = 0
        for trial in self.study.get_trials(deepcopy=False):
            is_waiting = trial.state == TrialState.WAITING
            taken += trial.number not in self.failed_before and not is_waiting
        return taken

    def _next_batch(self, num_trials: int) -> list[FrozenTrial]:
        """Up to `n_jobs` trials, which no other process gets; waits for orphans at the end."""
        while True:
            with study_lock(self.settings.storage):
                requeue_abandoned(self.study)
                room = max(0, num_trials - self._num_taken())
                batch = [self._ask() for _ in range(min(room, self.settings.n_jobs))]
            if batch or not any(map(is_orphan, self.study.get_trials(deepcopy=False))):
                return batch
            time.sleep(WAIT_S)  # a job of a killed start still trains; its trial is ours then

    def _ask(self) -> FrozenTrial:
        self.study.sampler = self._sampler(len(self.study.get_trials(deepcopy=False)))
        trial = self.study.ask(self.space.distributions)
        claim(self.storage, trial._trial_id)
        return self.storage.get_trial(trial._trial_id)

    def _sampler(self, number: int) -> BaseSampler:
        """With a seed for each trial: with one for all, each start would draw the same settings."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return self.settings.sampler(seed=self.settings.seed + number)

    def _launch(self, trials: Sequence[FrozenTrial]) -> Sequence[JobReturn]:
        """Train settings with consecutive numbers, which become the numbers of the jobs."""
        batch = [self.space.overrides(trial.params) for trial in trials]
        jobs: Sequence[JobReturn] = []
        with self._requeued_if_interrupted(trials), signs_of_life(self.storage, trials):
            try:
                jobs = self.sweeper.launcher.launch(batch, initial_job_idx=trials[0].number)
            except SubmissionError:  # the trials wait for another start
                raise
            except Exception as error:  # whatever a launcher raises when a process of it died
                log.error("trials %s failed: %s", [trial.number for trial in trials], error)
                for trial in trials:
                    self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
            for trial, job in zip(trials, jobs, strict=False):
                self._tell(trial, job)
        return jobs

    @contextmanager
    def _requeued_if_interrupted(self, trials: Sequence[FrozenTrial]) -> Iterator[None]:
        """SIGTERM, Ctrl-C: another start, or another process, trains them to the end."""
        try:
            yield
        except BaseException:
            SearchTrial.withdraw()
            for trial in trials:
                current = self.storage.get_trial(trial._trial_id)
                if current.state == TrialState.RUNNING:
                    requeue(self.storage, current)
            raise

    def _tell(self, trial: FrozenTrial, job: JobReturn) -> None:
        attributes = self.storage.get_trial(trial._trial_id).user_attrs
        state = TrialState.FAIL
        values: list[float] | None = None
        if attributes.get(PRUNED):
            state = TrialState.PRUNED
        elif job.status == JobStatus.COMPLETED:
            state = TrialState.COMPLETE
            measured = {**attributes, SCORE: job.return_value}
            values = [_number(measured, name) for name in self.settings.objectives]
        try:
            told = self.study.tell(trial.number, values, state=state)
        except RuntimeError:
            if not isinstance(self.study.sampler, BruteForceSampler):
                raise
            # the sampler wants to stop `Study.optimize`, since the grid is complete
            told = self.storage.get_trial(trial._trial_id)
        log.info("%s", self._line(told))

    def _line(self, trial: FrozenTrial) -> str:
        """What became of a trial."""
        params = " ".join(self.space.own(trial.params))
        if trial.state == TrialState.PRUNED:
            num = len(trial.intermediate_values)
            return f"trial {trial.number}: pruned after {num} validations, {params}"
        if trial.state != TrialState.COMPLETE:
            return f"trial {trial.number}: failed, {params}"
        pairs = zip(self.settings.objectives, trial.values or [], strict=True)
        values = ", ".join(f"{name} {value:.4g}" for name, value in pairs)
        return f"trial {trial.number}: {values}, {params}"

    def _summarize(self) -> None:
        trials = self.study.get_trials(deepcopy=False)
        counts = {state: 0 for state in TrialState}
        for trial in trials:
            counts[trial.state] += 1
        log.info(
            "study %s: %d trials finished, %d pruned, %d failed",
            self.settings.study_name,
            counts[TrialState.COMPLETE],
            counts[TrialState.PRUNED],
            counts[TrialState.FAIL],
        )
        for trial in self.study.best_trials:
            log.info("best: %s", self._line(trial))
        failed = [trial.number for trial in trials if trial.state == TrialState.FAIL]
        failed = sorted(set(failed) - self.failed_before)
        if failed:
            raise ValueError(
                f"study {self.settings.study_name}: expected every trial to train, but "
                f"{failed} failed, see their messages above - run the same command again to "
                "repeat the failed trials alone"
            )

    @property
    def storage(self) -> optuna.storages.BaseStorage:
        """Of the study."""
        return self.study._storage


def _number(measured: dict[str, Any], name: str) -> float:
    """An objective of a finished trial.

    Raises:
        ValueError: the job has not measured it.
    """
    value = measured.get(name)
    if isinstance(value, int | float):
        return float(value)
    raise ValueError(
        f"hydra.sweeper.objectives: expected a number for {name} from each job, but got {value!r} "
        "- search with `maskmill train -m`, and for score, latency_ms and size_mb"
    )


def _consecutive(trials: Sequence[FrozenTrial]) -> list[list[FrozenTrial]]:
    """The trials in groups whose numbers are consecutive."""
    groups: list[list[FrozenTrial]] = []
    for trial in sorted(trials, key=lambda trial: trial.number):
        if groups and groups[-1][-1].number + 1 == trial.number:
            groups[-1].append(trial)
        else:
            groups.append([trial])
    return groups
