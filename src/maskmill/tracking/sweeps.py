"""The MLflow run of a sweep; the runs of its jobs are its children."""

from pathlib import Path

import mlflow

from maskmill.tracking.abandoned import PROCESS_TAG, end_abandoned_runs, this_process
from maskmill.tracking.descriptions import MAX_DESCRIPTION_LENGTH, NOTE, artifact_link
from maskmill.tracking.runs import code_tags
from maskmill.tracking.store import connect, experiment_id, store_errors
from maskmill.tracking.sweep_tags import JOB_TAG, PARENT_TAG, SWEEP_TAG
from maskmill.tracking.views import name_of_best

MAX_CHILDREN = 10_000


def open_sweep(experiment: str, name: str, run_id: str | None) -> str:
    """Create the run of a sweep, or open that of an earlier start again.

    Args:
        experiment: MLflow experiment of the runs.
        name: of the sweep.
        run_id: of an earlier start, None for a new run.

    Returns:
        the run's id.

    Raises:
        ValueError: the store does not answer.
    """
    tags = {SWEEP_TAG: name, PROCESS_TAG: this_process(), **code_tags()}
    with store_errors():
        client = connect()
        end_abandoned_runs(client)
        if run_id is not None and _exists(client, run_id):
            for key, value in tags.items():
                client.set_tag(run_id, key, value)
            client.update_run(run_id, status="RUNNING")
            return run_id
        run = client.create_run(experiment_id(experiment), run_name=name, tags=tags)
        return str(run.info.run_id)


def close_sweep(run_id: str, status: str) -> None:
    """End the run of a sweep, and runs of jobs whose process was killed."""
    with store_errors():
        client = connect()
        client.set_terminated(run_id, status)
        end_abandoned_runs(client)


def job_runs(parent: str) -> dict[int, str]:
    """Job -> id of its latest run that finished, or of its latest run, for the jobs of a sweep."""
    with store_errors():
        client = connect()
        experiment = client.get_run(parent).info.experiment_id
        query = f"tags.`{PARENT_TAG}` = '{parent}'"
        order = ["attributes.start_time ASC"]
        runs = client.search_runs([experiment], query, max_results=MAX_CHILDREN, order_by=order)
    latest: dict[int, str] = {}
    finished: dict[int, str] = {}
    for run in runs:
        job = int(run.data.tags[JOB_TAG])
        latest[job] = run.info.run_id
        if run.info.status == "FINISHED":
            finished[job] = run.info.run_id
    return latest | finished


def describe_sweep(
    run_id: str, *, page: Path, description: str, best: str | None, metric: str, score: float | None
) -> None:
    """Show the result of a sweep on the page of its run.

    Args:
        run_id: of the sweep.
        page: a file that becomes an artifact.
        description: Markdown, whose first line is a summary.
        best: id of the run of the best job; None if there is none.
        metric: name of the score.
        score: the best one, by which sweeps can be sorted.
    """
    with store_errors():
        client = connect()
        experiment = client.get_run(run_id).info.experiment_id
        links = [artifact_link(experiment, run_id, page.name)]
        if best is not None:
            links.append(f"[run of the best job](#/experiments/{experiment}/runs/{best})")
        first, _, table = description.partition("\n")
        note = f"{first}\n\n{', '.join(links)}\n{table}"  # MLflow folds all but the first lines
        client.set_tag(run_id, NOTE, note[:MAX_DESCRIPTION_LENGTH])
        client.log_artifact(run_id, str(page))
        if score is not None:
            name = name_of_best(metric) if metric.startswith("val/") else metric
            client.log_metric(run_id, name, score)  # in the column of the jobs' scores


def _exists(client: mlflow.MlflowClient, run_id: str) -> bool:
    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "active")
    except mlflow.exceptions.MlflowException:
        return False
