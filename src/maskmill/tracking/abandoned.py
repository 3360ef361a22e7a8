"""Runs whose process was killed: MLflow would show them as running for ever."""

import logging
import socket
from collections.abc import Collection
from pathlib import Path

import mlflow
import psutil
from mlflow.entities import Run

log = logging.getLogger(__name__)

PROCESS_TAG = "maskmill.process"
MAX_RUNS = 1000  # of one request
CLOCK_TOLERANCE_S = 2.0  # psutil computes the start of a process from the boot time, in seconds


def this_process() -> str:
    """Machine, process id and start of this process: a name that no other process ever has."""
    process = psutil.Process()
    return f"{_machine()} {process.pid} {process.create_time():.0f}"


def end_abandoned_runs(client: mlflow.MlflowClient, *, dead: Collection[str] = ()) -> None:
    """End the runs of dead processes as KILLED; a training that resumes opens its run again.

    Args:
        client: of the store.
        dead: ids of further runs that have no process, whatever machine they ran on.
    """
    for run in running_runs(client):
        run_id = run.info.run_id
        if run_id in dead or has_died(run.data.tags.get(PROCESS_TAG, "")):
            client.set_terminated(run_id, "KILLED")
            log.info("MLflow run %s ended without a word (killed?): now marked KILLED", run_id)


def running_runs(client: mlflow.MlflowClient) -> list[Run]:
    """The runs of maskmill that the store shows as running."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    query = f"attributes.status = 'RUNNING' and tags.`{PROCESS_TAG}` LIKE '%'"
    return list(client.search_runs(experiments, query, max_results=MAX_RUNS))


def has_died(process: str) -> bool:
    """Did the process with this name run on this machine, and does it no longer?"""
    if not is_of_this_machine(process):
        return False
    _, pid, started_s = process.rsplit(" ", 2)
    try:
        now_s = psutil.Process(int(pid)).create_time()
    except psutil.NoSuchProcess:
        return True
    return abs(now_s - float(started_s)) > CLOCK_TOLERANCE_S


def is_of_this_machine(process: str) -> bool:
    """Did the process with this name run on this machine, in this namespace of process ids?"""
    return process.rsplit(" ", 2)[0] == _machine()


def _machine() -> str:
    """The host, and the namespace of its process ids: containers have their own."""
    namespace = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()} {namespace.readlink() if namespace.exists() else ''}"
