"""Metrics to an MLflow run in batches, by a thread of its own: a value logged every step costs 10 ms on SQLite, here microseconds."""

import logging
import re
import threading
import time
from collections.abc import Mapping
from typing import Any

from lightning.pytorch.loggers import Logger
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from maskmill.tracking.store import connect

log = logging.getLogger(__name__)

MAX_BATCH = 1000  # metric values per request, MLflow's limit
NOT_IN_KEYS = re.compile(r"[^\w/. -]")


class RunLogger(Logger):
    """Logs to a run that exists, and only what it has not yet: a resumed training does some steps again.

    Args:
        run_id: of the run; None for a process that logs nothing.
        flush_seconds: a value is written at the latest so long after it came.
    """

    def __init__(self, run_id: str | None, *, flush_seconds: float = 5.0) -> None:
        super().__init__()
        self._run_id = run_id
        self._client = (
            connect() if run_id else None
        )  # processes that start together must not make the store together
        self._latest = latest_steps(run_id) if run_id else {}
        self._pending: list[Metric] = []
        self._adding, self._writing, self._wake = (
            threading.Lock(),
            threading.Lock(),
            threading.Event(),
        )
        self._ended = False
        if run_id:
            threading.Thread(
                target=self._write_on, args=(flush_seconds,), name="mlflow-writer", daemon=True
            ).start()

    @property
    def name(self) -> str:
        """What kind of store this is."""
        return "mlflow"

    @property
    def version(self) -> str | None:
        """The run's id."""
        return self._run_id

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Take values of a step; those of a key that has one for this step or a later one are left out."""
        if self._run_id is None:
            return
        now, step = int(time.time() * 1000), step or 0
        values = {NOT_IN_KEYS.sub("", key): float(value) for key, value in metrics.items()}
        new = [
            Metric(key, value, now, step)
            for key, value in values.items()
            if step > self._latest.get(key, -1)
        ]
        self._latest |= {metric.key: step for metric in new}
        with self._adding:
            self._pending += new
        if len(self._pending) >= MAX_BATCH:
            self._wake.set()

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the resolved configuration is logged before (tracking.runs)."""

    def flush(self) -> None:
        """Write what was taken so far; a checkpoint must not be ahead of the run."""
        with self._writing:
            while self._pending:
                with self._adding:
                    batch = self._pending[:MAX_BATCH]
                assert self._client is not None, "only a run takes values"
                self._client.log_batch(self._run_id, metrics=batch)
                with self._adding:
                    del self._pending[: len(batch)]

    def finalize(self, status: str) -> None:
        """Write the rest; the run itself is ended by who opened it. A store that fails must not cost the trained weights."""
        self._ended = True
        self._wake.set()
        try:
            self.flush()
        except (MlflowException, OSError) as error:
            log.error(
                "%d metric values are not in MLflow run %s: %s - see that the store can be reached",
                len(self._pending),
                self._run_id,
                error,
            )

    def _write_on(self, every_seconds: float) -> None:
        warned = False
        while not self._ended:
            self._wake.wait(every_seconds)
            self._wake.clear()
            try:
                self.flush()
                warned = False
            except (MlflowException, OSError) as error:
                if not warned:
                    log.warning(
                        "MLflow cannot be written to, trying again every %g s: %s",
                        every_seconds,
                        error,
                    )
                warned = True


def latest_steps(run_id: str) -> dict[str, int]:
    """The last step that each metric of a run has a value for."""
    values = (
        connect().get_run(run_id).data.to_proto().metrics
    )  # the latest of each key; only this form has their steps
    return {metric.key: int(metric.step) for metric in values}
