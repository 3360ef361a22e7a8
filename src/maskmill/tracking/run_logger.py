"""Metrics to an MLflow run in batches, written by a background thread.

Logging a value at every step costs 10 ms on SQLite, and microseconds here.
"""

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
    """Logs to an existing run, and each step only once: a resumed training repeats some steps.

    Args:
        run_id: id of the run; None for a process that logs nothing.
        flush_seconds: values are written at the latest after this time.
    """

    def __init__(self, run_id: str | None, *, flush_seconds: float = 5.0) -> None:
        super().__init__()
        self._run_id = run_id
        self._latest: dict[str, int] = {}
        self._pending: list[Metric] = []
        self._adding = threading.Lock()
        self._writing = threading.Lock()
        self._wake = threading.Event()
        self._ended = False
        self._client = None
        if run_id is None:  # other processes must not create the store at the same time
            return
        self._client = connect()
        self._latest = latest_steps(run_id)
        writer = threading.Thread(
            target=self._flush_regularly, args=(flush_seconds,), name="mlflow-writer", daemon=True
        )
        writer.start()

    @property
    def name(self) -> str:
        """The kind of store."""
        return "mlflow"

    @property
    def version(self) -> str | None:
        """The run's id."""
        return self._run_id

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Take values of a step, except for keys that already have this step or a later one."""
        if self._run_id is None:
            return
        now_ms = int(time.time() * 1000)
        step = step or 0
        values = {NOT_IN_KEYS.sub("", name): value for name, value in metrics.items()}
        new = []
        for key, value in values.items():
            if step > self._latest.get(key, -1):
                self._latest[key] = step
                new.append(Metric(key, float(value), now_ms, step))
        with self._adding:
            self._pending += new
        if len(self._pending) >= MAX_BATCH:
            self._wake.set()

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: `tracking.runs.log_inputs` has logged the resolved configuration."""

    def flush(self) -> None:
        """Write all values taken so far; a checkpoint must not be ahead of the run."""
        with self._writing:
            while self._pending:
                with self._adding:
                    batch = self._pending[:MAX_BATCH]
                assert self._client is not None, "a logger without a run takes no values"
                self._client.log_batch(self._run_id, metrics=batch)
                with self._adding:
                    del self._pending[: len(batch)]

    def finalize(self, status: str) -> None:
        """Write the remaining values; whoever opened the run ends it.

        A store that fails is logged as an error, since it must not cost the trained weights.
        """
        self._ended = True
        self._wake.set()
        try:
            self.flush()
        except (MlflowException, OSError) as error:
            log.error(
                "%d metric values are not in MLflow run %s: %s - check that the store is reachable",
                len(self._pending),
                self._run_id,
                error,
            )

    def _flush_regularly(self, interval_s: float) -> None:
        has_warned = False
        while not self._ended:
            self._wake.wait(interval_s)
            self._wake.clear()
            try:
                self.flush()
                has_warned = False
            except (MlflowException, OSError) as error:
                if not has_warned:
                    log.warning(
                        "Cannot write to MLflow, trying again every %g s: %s", interval_s, error
                    )
                has_warned = True


def latest_steps(run_id: str) -> dict[str, int]:
    """The last step that each metric of a run has a value for."""
    # The latest value of each key; only this form contains the steps.
    values = connect().get_run(run_id).data.to_proto().metrics
    return {metric.key: int(metric.step) for metric in values}
