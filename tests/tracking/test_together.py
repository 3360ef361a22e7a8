"""Processes that start together share one store: each run is there, with every value."""

import time
from pathlib import Path

import mlflow
import pytest

import track
from commands import start_module

pytestmark = pytest.mark.slow  # processes, and a database that takes seconds to create

NUM_PROCESSES = 16


def start_tracking(number, folder, **environment):
    """Start a process that logs to a run."""
    path = str(Path(track.__file__).parent)
    return start_module("track", str(number), cwd=folder, PYTHONPATH=path, **environment)


def track_together(folder, **environment):
    """Start all processes at once, and wait for them; returns their outputs."""
    numbers = range(NUM_PROCESSES)
    processes = [start_tracking(number, folder, **environment) for number in numbers]
    outputs = [process.communicate(timeout=600)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * NUM_PROCESSES, outputs
    return outputs


def assert_complete(client):
    """Every process has a finished run with all its values."""
    experiment = client.get_experiment_by_name("together")
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert sorted(int(run.data.tags["number"]) for run in runs) == list(range(NUM_PROCESSES))
    for run in runs:
        number = int(run.data.tags["number"])
        history = client.get_metric_history(run.info.run_id, "loss")
        assert [row.value for row in history] == [number + step for step in range(track.NUM_STEPS)]


def test_sixteen_processes_create_and_use_one_database(tmp_path):
    first = start_tracking(0, tmp_path)
    while not (tmp_path / "mlruns" / ".store.lock").exists():
        time.sleep(0.05)
    first.kill_group()  # while it creates the tables
    first.communicate()
    outputs = track_together(tmp_path)
    assert outputs == [""] * NUM_PROCESSES  # no "database is locked", no notice of MLflow
    assert_complete(mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}"))
    (lock,) = (tmp_path / "mlruns").iterdir()
    assert lock.name == ".store.lock"
