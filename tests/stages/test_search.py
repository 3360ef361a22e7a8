"""`hydra/sweeper=optuna` with real trainings: pruned trials end cleanly, alone and in processes."""

import os
import signal
import sqlite3
import time

import optuna
import pytest

from commands import QUICK, prepare, run, start
from maskmill.assembly.study import open_storage

pytestmark = pytest.mark.slow

SEARCH = [
    *QUICK,
    "hydra/sweeper=optuna",
    "hydra/sweeper/pruner=threshold",
    "hydra.sweeper.pruner.lower=2",  # no score reaches it: each trial ends after a validation
    "hydra.sweeper.pruner.n_warmup_steps=0",
    "network=unet",
    "trainer.max_epochs=3",
    "optimizer.lr=tag(log,interval(1e-4,1e-2))",
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("search"), num_train=2, num_val=1)


def trials(folder, name):
    storage = open_storage(str(folder / f"out/sweeps/{name}/study.journal"))
    return optuna.load_study(study_name=name, storage=storage).get_trials()


def jobs(folder, name):
    """Status and tag `pruned` of the MLflow run of each job of a sweep."""
    query = """
        select number.value, status, pruned.value from runs
        join tags sweep on sweep.run_uuid = runs.run_uuid and sweep.key = 'sweep'
        join tags number on number.run_uuid = runs.run_uuid and number.key = 'sweep_job'
        left join tags pruned on pruned.run_uuid = runs.run_uuid and pruned.key = 'pruned'
        where sweep.value = ? order by number.value
    """
    with sqlite3.connect(folder / "mlflow.db") as database:
        return database.execute(query, [name]).fetchall()


def test_pruned_trials_end_cleanly_after_a_kill_too(prepared):
    line = ["-m", *SEARCH, "sweep.name=killed", "hydra.sweeper.n_trials=3"]
    process = start("train", *line, cwd=prepared)
    while len(jobs(prepared, "killed") if (prepared / "mlflow.db").is_file() else []) < 2:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    output = run("train", *line, cwd=prepared)
    assert "Traceback" not in output
    assert "0 trials finished, 3 pruned, 0 failed" in output
    assert [(trial.number, trial.state.name) for trial in trials(prepared, "killed")] == [
        (number, "PRUNED") for number in range(3)
    ]
    assert jobs(prepared, "killed") == [(str(job), "FINISHED", "true") for job in range(3)]
    assert not list(prepared.glob("out/sweeps/killed/*/train"))
    assert not list(prepared.glob("out/state/*/*.ckpt"))


def test_a_trial_on_two_processes_is_pruned_by_both(prepared):
    line = ["-m", *SEARCH, "trainer=ddp_cpu", "sweep.name=ddp", "hydra.sweeper.n_trials=1"]
    output = run("train", *line, cwd=prepared)
    assert "Traceback" not in output
    assert "trial 0: pruned after 1 validations" in output
    assert jobs(prepared, "ddp") == [("0", "FINISHED", "true")]


def test_a_search_for_two_objectives_measures_the_model(prepared):
    line = ["-m", *QUICK, "hydra/sweeper=optuna", "network=unet", "optimizer.lr=1e-3,1e-4"]
    line += ["trainer.max_epochs=1", "sweep.name=front", "hydra.sweeper.n_trials=1"]
    line += ["+hydra.sweeper.objectives.latency_ms=minimize"]
    line += ["+hydra.sweeper.objectives.size_mb=minimize"]
    run("train", *line, cwd=prepared)
    (trial,) = trials(prepared, "front")
    score, latency_ms, size_mb = trial.values
    assert 0 <= score <= 1
    assert latency_ms > 0
    weights = prepared / "out/sweeps/front/0/train/model.safetensors"
    assert size_mb == weights.stat().st_size / 1e6
