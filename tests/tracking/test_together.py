"""Processes that start together share one store: each run is there, with every value."""

import time

import mlflow
import pytest

from tracked_processes import NUM_PROCESSES, complete_runs, start_tracking, track_together

pytestmark = pytest.mark.slow  # processes, and a database that takes seconds to create


def test_sixteen_processes_create_and_use_one_database(tmp_path):
    first = start_tracking(0, tmp_path)
    while not (tmp_path / "mlruns" / ".store.lock").exists():
        time.sleep(0.05)
    first.kill_group()  # while it creates the tables
    first.communicate()
    outputs = track_together(tmp_path)
    assert outputs == [""] * NUM_PROCESSES  # no "database is locked", no notice of MLflow
    complete_runs(mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}"))
    names = sorted(path.name for path in (tmp_path / "mlruns").iterdir())
    assert names == [".store.lock", "together"]
