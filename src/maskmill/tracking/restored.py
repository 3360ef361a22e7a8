"""The MLflow run of a model that DVC's cache brought, and that was trained in another clone."""

import logging
import sqlite3
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

from mlflow.entities import Metric, Param, Run
from mlflow.exceptions import MlflowException

from maskmill.tracking.address import database_path, tracking_uri
from maskmill.tracking.lineage import MODEL_TAG
from maskmill.tracking.origin import LINEAGE, known_origin
from maskmill.tracking.runs import CONFIG_FILE, code_tags
from maskmill.tracking.store import connect, experiment_id

log = logging.getLogger(__name__)

EXPERIMENT = "maskmill"
RESTORED_TAG = "restored_from_cache"


def restored_run(
    tags: Mapping[str, str],
    *,
    history: Iterable[Mapping[str, float]] = (),
    configuration: Path | None = None,
    params: Mapping[str, str] | None = None,
) -> Run:
    """The run that trained a model, from its origin in lineage.yaml.

    A store that all clones share has the run. The database of a clone gets a copy with the id of
    the original. Any other store gets a new run, whose tags name the original.

    Args:
        tags: of the run, with the fingerprint of the model.
        history: learning curves of the training, see `read_history`.
        configuration: the file that runs the training again.
        params: parameters of the run.

    Raises:
        ValueError: lineage.yaml is damaged.
    """
    client = connect()
    model = tags[MODEL_TAG]
    origin = known_origin(model)
    if origin is None:
        log.warning(
            "no MLflow run trained model %s here, and %s does not name one: a new run is added "
            "for it",
            model[:12],
            LINEAGE,
        )
        run_id = _add_run({**code_tags(), **tags}, None)
    else:
        log.info("model %s: run %s trained it at %s", model[:12], origin.run, origin.commit[:12])
        if _is_here(origin.run):
            client.set_tag(origin.run, MODEL_TAG, model)
            return client.get_run(origin.run)
        run_id = _add_run({**tags, **origin.tags}, origin.run)
    settings = [Param(name, value) for name, value in (params or {}).items()]
    client.log_batch(run_id, metrics=_metrics(history), params=settings)
    if configuration is not None:
        client.log_artifact(run_id, str(configuration), str(Path(CONFIG_FILE).parent))
    client.set_terminated(run_id, "FINISHED")
    return client.get_run(run_id)


def _is_here(run_id: str) -> bool:
    try:
        return bool(connect().get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException:
        return False


def _add_run(tags: Mapping[str, str], wanted: str | None) -> str:
    """A run with the id of the original if the store can have one; its id."""
    everything = {**tags, RESTORED_TAG: "true"}
    run = connect().create_run(experiment_id(EXPERIMENT), run_name="restored", tags=everything)
    run_id = str(run.info.run_id)
    database = database_path(tracking_uri())
    if wanted is None or database is None:
        return run_id
    try:
        _rename(database, run_id, wanted)
    except sqlite3.IntegrityError:  # it is in the trash of the database
        return run_id
    return wanted


def _rename(database: Path, run_id: str, wanted: str) -> None:
    """Give a run without metrics and artifacts another id, for which MLflow has no call."""
    rename_run = (
        "update runs set run_uuid = :new, artifact_uri = replace(artifact_uri, :old, :new) "
        "where run_uuid = :old"
    )
    rename_tags = "update tags set run_uuid = :new where run_uuid = :old"
    ids = {"old": run_id, "new": wanted}
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        connection.execute(rename_run, ids)
        connection.execute(rename_tags, ids)


def _metrics(history: Iterable[Mapping[str, float]]) -> list[Metric]:
    """The learning curves, under the names that the training logged them by."""
    now_ms = int(time.time() * 1000)
    metrics = []
    for row in history:
        for name, value in row.items():
            if "/" in name:  # as val/PQ, and not the number of the epoch
                metrics.append(Metric(name, value, now_ms, int(row["step"])))
    return metrics
