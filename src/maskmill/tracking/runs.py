"""One MLflow run per training: parameters, data set, lineage."""

import logging
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mlflow
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import Run

from maskmill.tracking.store import connect, experiment_id

log = logging.getLogger(__name__)

MAX_PARAM_LENGTH = 6000  # characters, the limit of MLflow's stores
MAX_DIGEST_LENGTH = 36  # characters, MLflow's limit
MAX_BATCH = 100  # parameters per request


@dataclass(frozen=True)
class Tracking:
    """How trainings are tracked.

    Args:
        experiment: MLflow experiment of the runs.
        run_name: name in the list of runs.
        system_metrics: sample CPU, memory, disk, network and GPU use.
    """

    experiment: str
    run_name: str
    system_metrics: bool = True

    @contextmanager
    def run(self, run_id: str | None, tags: Mapping[str, str]) -> Iterator[str]:
        """Open a new run, or resume the run of an earlier start of the same training.

        An exception marks it as failed, SIGTERM as killed.

        Args:
            run_id: of the earlier start, None for a new run.
            tags: of the run, in addition to the git commit.

        Yields:
            the run's id.
        """
        experiment = experiment_id(self.experiment)  # also sets the tracking URI
        with mlflow.start_run(
            experiment_id=experiment,
            run_id=run_id if run_id and _exists(run_id) else None,
            run_name=self.run_name,
            tags={**tags, "git_commit": git_commit()},
            log_system_metrics=self.system_metrics,
        ) as run:
            try:
                yield run.info.run_id
            except InterruptedError:  # received SIGTERM, which is not a failure
                mlflow.end_run("KILLED")
                raise


@contextmanager
def reopened_run(run_id: str) -> Iterator[None]:
    """Make a run active again, to add to it."""
    connect()
    with mlflow.start_run(run_id=run_id):
        yield


def add_restored_run(tags: Mapping[str, str]) -> Run:
    """A finished run for a model that the pipeline restored from its cache instead of training it.

    Args:
        tags: of the run, in addition to the git commit and `restored_from_cache`.
    """
    everything = {**tags, "git_commit": git_commit(), "restored_from_cache": "true"}
    experiment = experiment_id("maskmill")
    with mlflow.start_run(experiment_id=experiment, run_name="restored", tags=everything) as run:
        pass
    return mlflow.MlflowClient().get_run(run.info.run_id)


def log_inputs(config: Mapping[str, Any], described: Mapping[str, Any]) -> None:
    """Log the resolved configuration as parameters, and the data set as input of the active run.

    Args:
        config: nested.
        described: content of dataset.json; it becomes the artifact data/dataset.json, and the
            number of images left out becomes a metric.
    """
    params = list(flatten(config).items())
    for start in range(0, len(params), MAX_BATCH):
        batch = params[start : start + MAX_BATCH]
        mlflow.log_params({key: value[:MAX_PARAM_LENGTH] for key, value in batch})
    digest = described["digest"]
    source = CodeDatasetSource(tags={"digest": digest})
    dataset = MetaDataset(source, name=described["source"], digest=digest[:MAX_DIGEST_LENGTH])
    mlflow.log_input(dataset, context="training")
    mlflow.log_dict(dict(described), "data/dataset.json")
    counts = {
        "data/left_out": len(described["problems"]),
        "data/findings": len(described["findings"]),
    }
    mlflow.log_metrics(counts)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted keys and the text of each value of a nested configuration; empty groups are kept.

    Example:
        >>> flatten({"optimizer": {"lr": 0.1}, "parts": [{"a": 1}], "empty": {}})
        {'optimizer.lr': '0.1', 'parts.0.a': '1', 'empty': '{}'}
    """
    flat: dict[str, str] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{name}.")
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            items = {str(index): item for index, item in enumerate(value)}
            flat |= flatten(items, f"{name}.")
        else:
            flat[name] = str(value)
    return flat


def git_commit() -> str:
    """The current commit, with `+changes` if tracked files differ from it.

    Outside a repository it is the environment variable GIT_COMMIT, or `unknown`.
    """
    try:
        commit = _run_git("rev-parse", "HEAD")
        changes = _run_git("status", "--porcelain", "-uno")
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("GIT_COMMIT", "unknown")
    return commit + ("+changes" if changes else "")


def _run_git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _exists(run_id: str) -> bool:
    try:
        return bool(mlflow.MlflowClient().get_run(run_id).info.lifecycle_stage == "active")
    except mlflow.exceptions.MlflowException:
        log.warning("Run %s is no longer in MLflow - the training resumes in a new run", run_id)
        return False
