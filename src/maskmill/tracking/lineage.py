"""From the fingerprint of a model to the run that trained it, so that later stages add to it."""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import mlflow
from mlflow.entities import Metric, Run
from mlflow.exceptions import MlflowException

from maskmill.tracking.descriptions import (
    add_to_description,
    artifact_link,
    headline,
    in_words,
)
from maskmill.tracking.store import connect

log = logging.getLogger(__name__)

MODEL_TAG = "maskmill.model"
PREDICTION_TAG = "maskmill.prediction"  # how a version predicts, as JSON; none: whole images
WEIGHTS_TAG = "maskmill.weights"
METRIC_TAG = "maskmill.metric"  # the score that decides, as PQ
TEST_TAG = "maskmill.test"  # key of the evaluation behind the metrics test/...


def find_run(fingerprint: str) -> Run | None:
    """The latest run that produced the model with this fingerprint.

    A run id differs between clones and the fingerprint does not, so pipeline outputs contain only
    the fingerprint.
    """
    client = connect()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(
        experiments,
        f"tags.`{MODEL_TAG}` = '{fingerprint}'",
        max_results=1,
        order_by=["attributes.start_time DESC"],
    )
    return runs[0] if runs else None


def log_evaluation(
    run: Run,
    key: str,
    out: Path,
    metrics: Mapping[str, float],
    bounds: Mapping[str, Sequence[float]],
) -> None:
    """Add an evaluation to the run of the model, beside its evaluations on other data.

    The first one gives the run its metrics test/<name>, of the most telling scores; those on other
    data, or counted differently, are test-<key>/<name>. The description has their intervals. All
    scores and the report are in evaluate/<key>/.

    Args:
        run: that trained the model.
        key: of the images, labels and settings; see `Evidence.key`.
        out: folder with the report and the tables.
        metrics: name -> fraction.
        bounds: name -> lower and upper bound.
    """
    client = connect()
    run_id = run.info.run_id
    first = run.data.tags.get(TEST_TAG, key)
    client.set_tag(run_id, TEST_TAG, first)
    prefix = "test" if key == first else f"test-{key}"
    scores = headline(metrics, run.data.tags.get(METRIC_TAG))
    now_ms = int(time.time() * 1000)
    logged = [Metric(f"{prefix}/{name}", value, now_ms, 0) for name, value in scores.items()]
    client.log_batch(run_id, metrics=logged)
    folder = evaluation_path(key)
    client.log_artifacts(run_id, str(out), folder)
    links = [
        artifact_link(run.info.experiment_id, run_id, f"{folder}/{name}")
        for name in ("report.html", "metrics.json")
    ]
    text = f"{in_words(scores, bounds)}; {', '.join(links)}"
    add_to_description(run_id, prefix.capitalize(), text)
    log.info("added the evaluation to run %s", run_id)


def evaluation_path(key: str) -> str:
    """The folder of an evaluation among the artifacts of a run."""
    return f"evaluate/{key}"


def has_evaluation(run: Run, key: str) -> bool:
    """Does MLflow keep an evaluation with this key for the run?"""
    return bool(connect().list_artifacts(run.info.run_id, evaluation_path(key)))


def kept_evaluation(run_id: str, key: str, folder: Path) -> Path | None:
    """A local copy of an evaluation of a run, or None if the run has none with this key.

    Args:
        run_id: of the model.
        key: of the images, labels and settings.
        folder: for the copy.
    """
    return run_artifact(run_id, evaluation_path(key), folder)


def run_artifact(run_id: str, name: str, folder: Path) -> Path | None:
    """A local copy of a file or folder of a run, or None if the run has none of that name."""
    connect()
    try:
        path = mlflow.artifacts.download_artifacts(
            run_id=run_id, artifact_path=name, dst_path=str(folder)
        )
    except (MlflowException, OSError):
        return None
    return Path(path)
