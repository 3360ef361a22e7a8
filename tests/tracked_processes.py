"""Sixteen processes that track at the same time, see `track`."""

from pathlib import Path

import track
from commands import start_module

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


def complete_runs(client):
    """The runs: one of each process, finished and with all values."""
    experiment = client.get_experiment_by_name("together")
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert sorted(int(run.data.tags["number"]) for run in runs) == list(range(NUM_PROCESSES))
    for run in runs:
        (dataset,) = run.inputs.dataset_inputs
        assert dataset.dataset.digest == "0123"
        number = int(run.data.tags["number"])
        history = client.get_metric_history(run.info.run_id, "loss")
        assert [row.value for row in history] == [number + step for step in range(track.NUM_STEPS)]
    return runs
