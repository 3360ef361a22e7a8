"""One MLflow run per training: parameters, data set, lineage."""

import logging
import os
import subprocess
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import mlflow
import yaml
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset

from maskmill.tracking.abandoned import PROCESS_TAG, end_abandoned_runs, this_process
from maskmill.tracking.descriptions import NOTE, describe_training
from maskmill.tracking.origin import LINEAGE, RUN_TAG, Origin
from maskmill.tracking.store import STORE_ERRORS, connect, experiment_id, reason_of, store_errors
from maskmill.tracking.unsent import Unsent, send_unsent

log = logging.getLogger(__name__)

URLLIB3_LOG = logging.getLogger("urllib3.connectionpool")

MAX_PARAM_LENGTH = 6000  # characters, the limit of MLflow's stores
MAX_DIGEST_LENGTH = 36  # characters, MLflow's limit
CONFIG_FILE = "config/train.yaml"  # among the files of a run
# Parameters, and what DVC and the pipeline write; conf/ and dvc.yaml count as code.
NOT_CODE = ("params.yaml", "dvc.lock", "*.dvc", ".dvc/**", ".dvcignore", ".gitignore", LINEAGE.name)
MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # MLflow's codes
DATASET_FILE = "data/dataset.json"  # among the files of a run
BRIEF = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}


@dataclass(frozen=True)
class Tracking:
    """How trainings are tracked.

    Args:
        experiment: MLflow experiment of the runs.
        run_name: name in the list of runs.
        system_metrics: sample CPU, memory, disk, network and GPU use.
        tags: of the runs, name -> text.
        params: name of a parameter -> dotted key of the configuration.
        choices: group of conf/ -> chosen file.
    """

    experiment: str
    run_name: str
    system_metrics: bool = False
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    choices: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def run(
        self, run_id: str | None, tags: Mapping[str, str], *, dead: Collection[str] = ()
    ) -> Iterator[str]:
        """Open a new run, or resume the run of an earlier start of the same training.

        An exception marks it as failed, SIGTERM as killed.

        Args:
            run_id: of the earlier start, None for a new run.
            tags: of the run, in addition to `code_tags`.
            dead: ids of other runs whose process was killed; they are marked so.

        Yields:
            the run's id.
        """
        with brief_requests():
            with store_errors():
                send_unsent(connect())
                end_abandoned_runs(connect(), dead=set(dead) - {run_id})
                opened = self._open(run_id, tags)
            status = "FAILED"
            try:
                yield opened
                status = "FINISHED"
            except (InterruptedError, KeyboardInterrupt):  # a signal, which is not a failure
                status = "KILLED"
                raise
            finally:
                _end_run(opened, status)

    def _open(self, run_id: str | None, tags: Mapping[str, str]) -> str:
        active = mlflow.active_run()
        if active is not None:  # of a notebook that trains
            raise ValueError(
                f"Expected no open MLflow run, but {active.info.run_id} is open in this process - "
                "end it with mlflow.end_run(): a training has a run of its own"
            )
        run = mlflow.start_run(
            experiment_id=experiment_id(self.experiment),  # also sets the tracking URI
            run_id=run_id if run_id and _exists(run_id) else None,
            run_name=self.run_name,
            tags={**self.tags, **tags, **code_tags(), PROCESS_TAG: this_process()},
            log_system_metrics=self.system_metrics,
        )
        return str(run.info.run_id)


def _end_run(run_id: str, status: str) -> None:
    unsent = Unsent(run_id)
    try:
        mlflow.end_run(status)
        if unsent.folder.exists():  # the store was down, and answers again
            unsent.send(connect())
    except STORE_ERRORS as error:
        unsent.keep_status(status)
        log.warning(
            "%s: the end of MLflow run %s is kept here: %s - the next `maskmill train` sends it, "
            "or `maskmill doctor --fix` does",
            unsent.folder,
            run_id,
            reason_of(error),
        )


@contextmanager
def brief_requests() -> Iterator[None]:
    """Let requests to a server that is down fail within seconds; the logger repeats them.

    MLflow's own limits are minutes. Those that the user has set are kept. urllib3's line for each
    request that it repeats would fill the terminal during an outage.
    """
    URLLIB3_LOG.setLevel(logging.ERROR)
    added = {key: value for key, value in BRIEF.items() if key not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for key in added:
            os.environ.pop(key, None)
        URLLIB3_LOG.setLevel(logging.NOTSET)


@contextmanager
def reopened_run(run_id: str) -> Iterator[None]:
    """Make a run active again, to add to it; its duration stays that of the training."""
    client = connect()
    ended_ms = client.get_run(run_id).info.end_time
    with mlflow.start_run(run_id=run_id):
        yield
    client.set_terminated(run_id, end_time=ended_ms)


@store_errors()
def log_inputs(
    params: Mapping[str, str], described: Mapping[str, Any], stage: Mapping[str, Any]
) -> str:
    """Describe the active run: its parameters, its data set, its configuration.

    Args:
        params: those by which runs are compared; the whole configuration becomes an artifact.
        described: content of dataset.json, which becomes an artifact.
        stage: content of the configuration file that runs the same training again.

    Returns:
        the description of the run; that of an earlier start is kept.
    """
    run = mlflow.active_run()
    assert run is not None
    if NOTE in run.data.tags:  # the last that is logged here
        return str(run.data.tags[NOTE])
    mlflow.log_text(yaml.safe_dump(dict(stage), sort_keys=False, allow_unicode=True), CONFIG_FILE)
    mlflow.log_params({key: value[:MAX_PARAM_LENGTH] for key, value in params.items()})
    digest = described["digest"]
    source = CodeDatasetSource(tags={"digest": digest})
    dataset = MetaDataset(source, name=described["source"], digest=digest[:MAX_DIGEST_LENGTH])
    _log_dataset(dataset)
    mlflow.log_dict(dict(described), DATASET_FILE)
    note = describe_training(run.info, params, described, files=(CONFIG_FILE, DATASET_FILE))
    mlflow.set_tag(NOTE, note)
    return note


def _log_dataset(dataset: MetaDataset) -> None:
    """Make a data set the input of the active run.

    MLflow first looks whether the store has it. If another run adds it in between, that fails once.
    """
    try:
        mlflow.log_input(dataset, context="training")
    except mlflow.exceptions.MlflowException:
        mlflow.log_input(dataset, context="training")


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


def origin_of(run_id: str) -> Origin:
    """What this process trains from: the commit and, under `dvc exp run`, the experiment."""
    return Origin(run_id, git_commit(), os.environ.get("DVC_EXP_NAME"))


def code_tags() -> dict[str, str]:
    """The tags of a run with its commit and, under `dvc exp run`, its experiment."""
    tags = origin_of("").tags
    del tags[RUN_TAG]
    return tags


def git_commit() -> str:
    """The current commit, with `+changes` if tracked code or configuration differs from it.

    What DVC writes is neither: a run records its parameters and its data itself.
    Outside a repository it is the environment variable GIT_COMMIT, or `unknown`.
    """
    try:
        commit = _run_git("rev-parse", "HEAD")
        not_code = [f":(top,exclude,glob)**/{pattern}" for pattern in NOT_CODE]
        changes = _run_git("status", "--porcelain", "-uno", "--", ":/", *not_code)
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("GIT_COMMIT", "unknown")
    return commit + ("+changes" if changes else "")


def _run_git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _exists(run_id: str) -> bool:
    try:
        return bool(mlflow.MlflowClient().get_run(run_id).info.lifecycle_stage == "active")
    except mlflow.exceptions.MlflowException as error:
        if error.error_code not in MISSING:  # the store does not answer
            raise
        log.warning("Run %s is no longer in MLflow - the training resumes in a new run", run_id)
        return False
