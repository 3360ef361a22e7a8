"""From the fingerprint of a model to the run that trained it, so that later stages add to it."""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlflow.entities import Metric, Run

from maskmill.tracking.store import connect

log = logging.getLogger(__name__)

MODEL_TAG = "maskmill.model"
WEIGHTS_TAG = "maskmill.weights"


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
    fingerprint: str, out: Path, metrics: Mapping[str, float], bounds: Mapping[str, Sequence[float]]
) -> None:
    """Add an evaluation's metrics and files to the run of the model; warn if there is no such run.

    Args:
        fingerprint: of the model whose predictions were evaluated.
        out: folder with the report and the tables.
        metrics: name -> fraction; logged as test/<name>.
        bounds: name -> lower and upper bound; logged as test_low/<name> and test_high/<name>.
    """
    run = find_run(fingerprint)
    if run is None:
        log.warning(
            "No MLflow run for model %s, so its evaluation is in %s only - "
            "train the model here to have both",
            fingerprint[:12],
            out,
        )
        return
    values = {f"test/{name}": value for name, value in metrics.items()}
    for name, (low, high) in bounds.items():
        values[f"test_low/{name}"] = low
        values[f"test_high/{name}"] = high
    now_ms = int(time.time() * 1000)
    client = connect()
    logged = [Metric(name, value, now_ms, 0) for name, value in values.items()]
    client.log_batch(run.info.run_id, metrics=logged)
    client.log_artifacts(run.info.run_id, str(out), "evaluate")
    log.info("added the evaluation to run %s", run.info.run_id)
