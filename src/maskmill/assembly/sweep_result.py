"""What a sweep found: a table, a page, and the best setting as an experiment."""

import logging
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from maskmill.assembly.command_line import quote_text
from maskmill.assembly.ensemble import require_same_kind
from maskmill.assembly.experiment_file import write_experiment
from maskmill.assembly.job_record import JobRecord, read_jobs
from maskmill.assembly.sweep_record import SweepRecord, parse
from maskmill.evaluation.learning_curves import EPOCH, HISTORY, SCORE, read_history
from maskmill.reporting.fold_means import FoldMean, describe_mean, fold_means
from maskmill.reporting.ranking import RankedJob, Ranking
from maskmill.reporting.sweep_page import write_sweep_page
from maskmill.serving.model_files import read_model
from maskmill.tracking.lineage import find_run

log = logging.getLogger(__name__)

PAGE = "sweep.html"
DATA = "prepare.out"
PLAIN = re.compile(r"[\w./-]+")  # a path that Hydra reads as it is


def rank_jobs(folder: Path, sweep: SweepRecord, runs: Mapping[int, str]) -> Ranking | None:
    """The jobs of a sweep in order; None before the first has ended.

    Args:
        folder: of the sweep.
        sweep: its record.
        runs: job -> id of its MLflow run; a job that an earlier sweep has trained has none of its
            own, and gets the run of its model.
    """
    records = read_jobs(folder)
    if not records:
        return None
    jobs = []
    for record in records:
        own = folder / str(record.job)
        run = runs.get(record.job) or _run_of_model(own / "train")
        jobs.append(_ranked(record, own, run))
    return Ranking.of(folder.name, " or ".join(_metrics(records)), jobs, maximise=sweep.maximise)


def _metrics(records: Sequence[JobRecord]) -> list[str]:
    """The scores of the jobs: several, if their networks have several tasks."""
    return list(dict.fromkeys(record.metric for record in records))


def _run_of_model(folder: Path) -> str | None:
    try:
        files = read_model(folder)
    except (FileNotFoundError, ValueError):  # it failed, or its files were damaged since
        return None
    run = find_run(files.fingerprint)
    return None if run is None else str(run.info.run_id)


def _ranked(record: JobRecord, folder: Path, run: str | None) -> RankedJob:
    params = {}
    for override in parse(record.own):
        params[override.key_or_group] = override.get_value_element_as_str()
    return RankedJob(
        job=record.job,
        params=params,
        status=record.status,
        score=record.score,
        error=record.error,
        run=run,
        curve=_curve(folder / "train" / HISTORY),
    )


def _curve(path: Path) -> list[tuple[float, float]]:
    if not path.is_file():
        return []
    points = []
    for row in read_history(path):
        if SCORE in row:
            points.append((row[EPOCH], row[SCORE]))
    return points


def write_result(folder: Path, ranking: Ranking) -> Path:
    """Print the table and what to do next; write the best setting, and the page.

    Returns:
        the page.
    """
    lines = [ranking.text(), ""]
    facts = {"jobs": ranking.counts()}
    metrics = _metrics(read_jobs(folder))
    if len(metrics) > 1:
        kinds = " and ".join(metrics)
        facts["caution"] = f"{kinds} cannot be compared with each other, only jobs of the same task"
    best = ranking.best
    if best is not None:
        experiment = _write_best(folder, ranking, best)
        job = folder / str(best.job)
        facts |= {
            "best": f"job {best.job}, {best.name}: {ranking.metric} {ranking.format(best.score)}",
            "its MLflow run": best.run or "unknown",
            "its model": str(job / "train"),
            "its setting": str(experiment),
        }
    means = fold_means(ranking)
    facts |= dict(describe_mean(setting, ranking) for setting in means)
    for name, text in facts.items():
        lines.append(f"{name}: {text}")
    page = write_sweep_page(folder / PAGE, ranking, facts=facts)
    lines.append(f"charts: {page}")
    if best is not None:
        (record,) = (record for record in read_jobs(folder) if record.job == best.job)
        lines += _next_steps(job, experiment, best, has_own_data=_has_own_data(record))
    if means and means[0].is_complete:
        lines += _ensemble(folder, means[0])
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
    return page


def _write_best(folder: Path, ranking: Ranking, best: RankedJob) -> Path:
    (record,) = (record for record in read_jobs(folder) if record.job == best.job)
    score = f"{ranking.metric} {ranking.format(best.score)}"
    reason = [f"The best of {len(ranking.jobs)} jobs of the sweep {ranking.sweep}: {score}."]
    if best.run is not None:
        reason.append(f"MLflow run {best.run}.")
    return write_experiment(
        f"best_{ranking.sweep}", record.overrides, groups=record.choices, reason=reason
    )


def _has_own_data(record: JobRecord) -> bool:
    """Whether the experiment of a job says where its data is."""
    return any(override.key_or_group == DATA for override in parse(record.overrides))


def _next_steps(job: Path, experiment: Path, best: RankedJob, *, has_own_data: bool) -> list[str]:
    steps = [f"train it longer: maskmill train experiment={experiment.stem} trainer.max_epochs=N"]
    same = f"experiment={experiment.stem} out={job}"
    if not has_own_data:
        same += f" {DATA}=out/prepare"
    run = f" register.run={best.run}" if best.run else ""
    steps.append("register it:")
    steps.append(f"  maskmill predict {same} && \\")
    steps.append(f"  maskmill evaluate {same} && \\")
    steps.append(f"  maskmill register {same}{run}")
    return steps


def _ensemble(folder: Path, setting: FoldMean) -> list[str]:
    """The command that makes one model of a setting's folds; none if its models have no mean."""
    folders = [folder / str(job.job) / "train" for job in setting.jobs]
    try:
        require_same_kind(list(map(read_model, folders)))
    except (FileNotFoundError, ValueError):
        return []
    plain = [str(path) for path in folders]
    models = ",".join(text if PLAIN.fullmatch(text) else quote_text(text) for text in plain)
    name = f" of {setting.name}" if setting.name else ""
    return [
        f"make one model of all folds{name}:",
        f"  maskmill ensemble {shlex.quote(f'ensemble.models=[{models}]')}",
    ]
