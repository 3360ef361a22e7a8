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

from maskmill.tracking.store import experiment_id

log = logging.getLogger(__name__)

MAX_PARAM_LENGTH = 6000  # of MLflow's stores
MAX_BATCH = 100  # parameters per request


@dataclass(frozen=True)
class Tracking:
    """How trainings are tracked.

    Args:
        experiment: MLflow experiment that holds the runs.
        run_name: shown in the list of runs.
        system_metrics: sample CPU, memory, disk, network and GPU use.
    """

    experiment: str
    run_name: str
    system_metrics: bool = True

    @contextmanager
    def run(self, run_id: str | None, tags: Mapping[str, str]) -> Iterator[str]:
        """Open a run, or go on with the one an earlier start of the same training opened; an exception marks it failed, SIGTERM killed.

        Args:
            run_id: of the earlier start, None for a new run.
            tags: set on the run, beside the git commit.

        Yields:
            the run's id.
        """
        experiment = experiment_id(self.experiment)
        everything = {**tags, "git_commit": git_commit()}
        with mlflow.start_run(
            run_id=run_id if run_id and _is_known(run_id) else None,
            experiment_id=experiment,
            run_name=self.run_name,
            tags=everything,
            log_system_metrics=self.system_metrics,
        ) as run:
            try:
                yield run.info.run_id
            except InterruptedError:  # told to leave: nothing failed
                mlflow.end_run("KILLED")
                raise


def log_inputs(config: Mapping[str, Any], described: Mapping[str, Any]) -> None:
    """Log the resolved configuration as parameters and the data set as input of the active run.

    Args:
        config: nested.
        described: what dataset.json holds; it becomes the artifact data/dataset.json, and images left out are counted as a metric.
    """
    params = list(flatten(config).items())
    for start in range(0, len(params), MAX_BATCH):
        mlflow.log_params(
            {key: value[:MAX_PARAM_LENGTH] for key, value in params[start : start + MAX_BATCH]}
        )
    digest = described["digest"]
    dataset = MetaDataset(
        CodeDatasetSource(tags={"digest": digest}), name=described["source"], digest=digest[:36]
    )  # 36: MLflow's limit
    mlflow.log_input(dataset, context="training")
    mlflow.log_dict(dict(described), "data/dataset.json")
    mlflow.log_metrics(
        {"data/left_out": len(described["problems"]), "data/findings": len(described["findings"])}
    )


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted keys and spelled values of a nested configuration; empty groups stay visible."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{name}.")
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            flat |= flatten({str(place): item for place, item in enumerate(value)}, f"{name}.")
        else:
            flat[name] = str(value)
    return flat


def git_commit() -> str:
    """The commit checked out here, with `+changes` where files differ from it; `unknown` outside a repository."""
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changes = subprocess.run(
            ["git", "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("GIT_COMMIT", "unknown")
    return commit + ("+changes" if changes else "")


def _is_known(run_id: str) -> bool:
    try:
        return bool(mlflow.MlflowClient().get_run(run_id).info.lifecycle_stage == "active")
    except mlflow.exceptions.MlflowException:
        log.warning(
            "run %s of the earlier start is gone from MLflow: this training goes on in a new run",
            run_id,
        )
        return False
