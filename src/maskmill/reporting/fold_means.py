"""The settings of a sweep over folds, by their mean score over the folds."""

from dataclasses import dataclass

from maskmill.reporting.ranking import RankedJob, Ranking

FOLD = "prepare.fold"
PATHS = ("out", "state", "root")  # last parts of keys that differ between the folds of a setting
MIN_FOLDS = 2


@dataclass(frozen=True)
class FoldMean:
    """A setting, with the jobs that trained it on each fold.

    Args:
        name: the setting as overrides; empty if the sweep varies the folds alone.
        jobs: those that finished, in the order of their folds.
        is_complete: all folds of the sweep are among them.
    """

    name: str
    jobs: list[RankedJob]
    is_complete: bool

    @property
    def scores(self) -> list[float]:
        """Of the folds."""
        return [job.score for job in self.jobs if job.score is not None]

    @property
    def mean(self) -> float:
        """Mean of the scores."""
        return sum(self.scores) / len(self.scores)


def fold_means(ranking: Ranking) -> list[FoldMean]:
    """The settings that finished on at least two folds, the best mean first.

    Settings that lack a fold come last: their mean covers fewer images.

    Example:
        >>> folds = [("0", 0.6), ("1", 0.8)]
        >>> jobs = [RankedJob(3, {FOLD: fold}, "FINISHED", score) for fold, score in folds]
        >>> [f"{setting.mean:.1f}" for setting in fold_means(Ranking.of("a", "val/PQ", jobs))]
        ['0.7']
    """
    settings: dict[str, dict[str, RankedJob]] = {}
    for job in sorted(ranking.jobs, key=_fold):
        if FOLD in job.params and job.status == "FINISHED" and job.score is not None:
            name = " ".join(_setting(job))
            settings.setdefault(name, {})[job.params[FOLD]] = job
    num_folds = len({job.params[FOLD] for job in ranking.jobs if FOLD in job.params})
    means = []
    for name, jobs in settings.items():
        if len(jobs) >= MIN_FOLDS:
            means.append(FoldMean(name, list(jobs.values()), len(jobs) == num_folds))
    sign = -1 if ranking.maximise else 1
    return sorted(means, key=lambda setting: (-len(setting.jobs), sign * setting.mean))


def describe_mean(setting: FoldMean, ranking: Ranking) -> tuple[str, str]:
    """The setting with the number of its folds, and its mean with the range of its scores."""
    low = ranking.format(min(setting.scores))
    high = ranking.format(max(setting.scores))
    what = f"mean of {len(setting.jobs)} folds"
    label = f"{what}, {setting.name}" if setting.name else what
    return label, f"{ranking.metric} {ranking.format(setting.mean)} ({low} to {high})"


def _setting(job: RankedJob) -> list[str]:
    """What a job does not share with the others, beside its fold and its folders."""
    parts = []
    for key, value in job.params.items():
        if key != FOLD and key.rpartition(".")[2] not in PATHS:
            parts.append(f"{key}={value}")
    return parts


def _fold(job: RankedJob) -> tuple[int, str]:
    fold = job.params.get(FOLD, "")
    return len(fold), fold  # numbers in their order, as text
