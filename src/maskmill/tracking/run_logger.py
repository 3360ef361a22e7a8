"""Metrics to an MLflow run in batches, written by a background thread.

Logging a value at every step costs 10 ms on SQLite, and microseconds here.
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from lightning.pytorch.loggers import Logger
from mlflow.entities import Metric
from mlflow.tracking.fluent import run_id_to_system_metrics_monitor

from maskmill.canonical.png import RGB, write_rgb
from maskmill.tracking.descriptions import NOTE, in_words, with_entry
from maskmill.tracking.lineage import METRIC_TAG
from maskmill.tracking.store import STORE_ERRORS, artifact_errors, connect, reason_of, store_errors
from maskmill.tracking.unsent import MAX_BATCH, Unsent
from maskmill.tracking.views import name_of_best

log = logging.getLogger(__name__)

NOT_IN_KEYS = re.compile(r"[^\w/. -]")


class RunLogger(Logger):
    """Logs to an existing run, and each step only once: a resumed training repeats some steps.

    While the store is down, training continues. The thread tries again; each checkpoint and the end
    of the training write what is not sent yet to files, see `unsent`.

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
        self._keeping = threading.Lock()
        self._ended = False
        self._is_down = False
        if run_id is None:  # other processes must not create the store at the same time
            return
        self._client = connect()
        self._unsent = Unsent(run_id)
        self._pending = self._unsent.metrics()
        with store_errors():
            latest = latest_steps(run_id)
        self._latest = latest | {row.key: row.step for row in self._pending}
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
        """Take values of a step, except for keys that already have this step or a later one.

        The index of the epoch, which Lightning adds, says no more than the step.
        """
        if self._run_id is None:
            return
        now_ms = int(time.time() * 1000)
        step = step or 0
        values = {NOT_IN_KEYS.sub("", name): value for name, value in metrics.items()}
        values.pop("epoch", None)
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

    def log_image(self, image: RGB, name: str, step: int) -> None:
        """Add a picture (H, W, 3) uint8 to the run; MLflow shows those of a name by step.

        While the store is down, it becomes the artifact pictures/<name>/step-<step>.png.
        """
        if self._run_id is None:
            return
        send = partial(self._client.log_image, self._run_id, image, key=name, step=step)
        if not self._tries(send):
            write_rgb(self._unsent.artifacts / f"pictures/{name}/step-{step:06d}.png", image)
            self._unsent.keep_artifacts()

    def log_best(self, monitor: str, score: float, note: str) -> None:
        """Log the best score, that of the weights, beside those of the last epoch.

        Args:
            monitor: name of the score, as val/PQ.
            score: a fraction.
            note: the description of the run, to which the score is added.
        """
        score_of = {name_of_best(monitor): score}
        self.log_metrics(score_of)  # of step 0: MLflow draws a bar, not a curve of one point
        self.flush()
        entry = with_entry(note, "Validation", in_words(score_of, {}))
        self.set_tags({NOTE: entry, METRIC_TAG: monitor.partition("/")[2]})

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags of the run."""
        if self._run_id is None:
            return
        for key, value in tags.items():
            if not self._tries(partial(self._client.set_tag, self._run_id, key, value)):
                self._unsent.keep_tags({key: value})

    def flush(self) -> None:
        """Write all values taken so far; a checkpoint must not be ahead of the run.

        They go to a file if the store is down.
        """
        if self._run_id is None:
            return
        if not self._tries(self._send):
            self._keep()

    def finalize(self, status: str) -> None:
        """Write the remaining values; whoever opened the run ends it.

        A store that fails is logged as an error, since it must not cost the trained weights.
        """
        if self._run_id is None:
            return
        self._ended = True
        self._wake.set()
        try:
            self._send()
        except STORE_ERRORS as error:
            self._keep()
            log.error(
                "%d metric values are not in MLflow run %s, but in %s: %s - the next `maskmill "
                "train` sends them, or `maskmill doctor --fix` does",
                len(self._pending),
                self._run_id,
                self._unsent.folder,
                reason_of(error),
            )

    def _send(self) -> None:
        with self._writing:
            while self._pending:
                with self._adding:
                    batch = self._pending[:MAX_BATCH]
                self._client.log_batch(self._run_id, metrics=batch)
                with self._adding:
                    del self._pending[: len(batch)]
        with self._keeping:
            self._unsent.keep_metrics([])

    def _keep(self) -> None:
        try:
            with self._keeping:
                with self._adding:
                    pending = list(self._pending)
                self._unsent.keep_metrics(pending)
        except OSError as error:  # a full disk must not end the training either
            log.error(
                "%s: expected to keep %d metric values here, but got: %s - free some space",
                self._unsent.folder,
                len(pending),
                error,
            )

    def _tries(self, send: Callable[[], Any]) -> bool:
        """Call `send` unless the store is known to be down; did it succeed?"""
        if self._is_down:
            return False
        try:
            with artifact_errors():
                send()
        except STORE_ERRORS as error:
            self._is_down = True
            log.warning(
                "Cannot write to MLflow: %s - the training continues, and its metrics are sent "
                "when the store answers again",
                reason_of(error),
            )
        return not self._is_down

    def _flush_regularly(self, interval_s: float) -> None:
        while not self._ended:
            self._wake.wait(interval_s)
            self._wake.clear()
            if not self._is_down:
                self._tries(self._send)
                continue
            try:
                self._send()
            except STORE_ERRORS:  # the warning has been given
                continue
            self._is_down = False
            log.info("MLflow answers again: all metric values are sent")
            self._restart_system_metrics()

    def _restart_system_metrics(self) -> None:
        """MLflow's own thread ends at the first error."""
        monitor = run_id_to_system_metrics_monitor.get(self._run_id)
        is_alive = any(thread.name == "SystemMetricsMonitor" for thread in threading.enumerate())
        if monitor is not None and not is_alive:
            monitor.start()


def latest_steps(run_id: str) -> dict[str, int]:
    """The last step that each metric of a run has a value for."""
    # The latest value of each key; only this form contains the steps.
    values = connect().get_run(run_id).data.to_proto().metrics
    return {metric.key: int(metric.step) for metric in values}
