"""What a run could not send while the tracking store was down: kept in files, and sent later.

mlruns/.unsent/<run id>/ holds values.json (metrics, tags, the final status) and artifacts/.
"""

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Metric

from maskmill.canonical.files import read_json, write_json
from maskmill.tracking.address import repository_root, shown, tracking_uri
from maskmill.tracking.relocation import ARTIFACTS
from maskmill.tracking.store import STORE_ERRORS, artifact_errors, reason_of

log = logging.getLogger(__name__)

MAX_BATCH = 1000  # metric values per request, MLflow's limit


class Unsent:
    """The unsent values and files of one run.

    Args:
        run_id: id of the run.
    """

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.folder = unsent_folder() / run_id
        self.artifacts = self.folder / "artifacts"
        self._values = self.folder / "values.json"

    @property
    def store(self) -> str:
        """The address of the run's store, without user name and password."""
        return str(self._read()["store"])

    def metrics(self) -> list[Metric]:
        """The metric values, in order."""
        return [
            Metric(key, float(value), timestamp_ms, step)
            for key, value, timestamp_ms, step in self._read()["metrics"]
        ]

    def keep_metrics(self, metrics: Sequence[Metric]) -> None:
        """Replace the metric values; values that were kept before must be among them."""
        if not metrics and not self._values.is_file():
            return
        # As text, since JSON has no NaN.
        rows = [[row.key, repr(row.value), row.timestamp, row.step] for row in metrics]
        self._write(metrics=rows)

    def keep_artifacts(self) -> None:
        """Send the files in `artifacts` later."""
        self._write()

    def keep_tags(self, tags: Mapping[str, str]) -> None:
        """Add tags."""
        self._write(tags=self._read()["tags"] | dict(tags))

    def keep_status(self, status: str) -> None:
        """Set the status with which the run ended."""
        self._write(status=status)

    def send(self, client: mlflow.MlflowClient) -> None:
        """Send everything, then delete the folder.

        MLflow stores a value with the same key, step and time once, so sending twice is harmless.
        """
        values = self._read()
        send_metrics(client, self.run_id, self.metrics())
        for key, value in values["tags"].items():
            client.set_tag(self.run_id, key, value)
        if self.artifacts.is_dir():
            with artifact_errors():
                client.log_artifacts(self.run_id, str(self.artifacts))
        if values["status"] is not None:
            client.set_terminated(self.run_id, values["status"])
        shutil.rmtree(self.folder, ignore_errors=True)

    def belongs_to(self, uri: str) -> bool:
        """Was the run in the store at `uri`?"""
        return self.store == shown(uri)

    def _read(self) -> dict[str, Any]:
        empty: dict[str, Any] = {"metrics": [], "tags": {}, "status": None}
        kept = read_json(self._values) if self._values.is_file() else {}
        return {"store": shown(tracking_uri())} | empty | kept

    def _write(self, **changes: Any) -> None:
        write_json(self._values, self._read() | changes)


def send_metrics(client: mlflow.MlflowClient, run_id: str, metrics: Sequence[Metric]) -> None:
    """Send metric values in as many requests as MLflow's limit needs."""
    for start in range(0, len(metrics), MAX_BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + MAX_BATCH])


def unsent_folder() -> Path:
    """The parent of the folders of all runs."""
    return repository_root() / ARTIFACTS / ".unsent"


def unsent_runs() -> list[Unsent]:
    """The runs that have something unsent, whatever their store."""
    return [Unsent(path.parent.name) for path in sorted(unsent_folder().glob("*/values.json"))]


def send_unsent(client: mlflow.MlflowClient) -> None:
    """Send what earlier trainings could not send to this store; warn about what cannot be sent."""
    for unsent in unsent_runs():
        if not unsent.belongs_to(tracking_uri()):
            continue
        num_values = len(unsent.metrics())
        try:
            unsent.send(client)
        except STORE_ERRORS as error:
            log.warning(
                "%s: %d metric values are not in MLflow run %s yet: %s - either check the store, "
                "or delete this folder to give them up",
                unsent.folder,
                num_values,
                unsent.run_id,
                reason_of(error),
            )
        else:
            log.info("sent %d kept metric values to MLflow run %s", num_values, unsent.run_id)
