"""A sweep as users start it: its runs, its failures, killed and started again."""

import json
import os
import sqlite3

import pytest

import commands
from commands import prepare, run

pytestmark = pytest.mark.slow

QUICK = [*commands.QUICK, "trainer.max_epochs=1"]


def query(folder, text):
    if not (folder / "mlflow.db").is_file():
        return []
    with sqlite3.connect(folder / "mlflow.db") as database:
        return database.execute(text).fetchall()


def runs(folder):
    return dict(query(folder, "select run_uuid, status from runs"))


def tags(folder, key):
    """Run name -> value of a tag."""
    text = (
        "select runs.name, tags.value from runs join tags on tags.run_uuid = runs.run_uuid "
        f"where tags.key = '{key}'"
    )
    return dict(query(folder, text))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("sweep"), num_train=4)


def test_a_sweep_is_a_run_whose_children_are_named_by_their_overrides(prepared):
    run("train", "-m", *QUICK, "sweep.name=rates", "optimizer.lr=1e-3,3e-4", cwd=prepared)
    names = ["optimizer.lr=0.001", "optimizer.lr=0.0003"]
    (parent,) = query(prepared, "select run_uuid, status from runs where name = 'rates'")
    assert parent[1] == "FINISHED"
    assert tags(prepared, "sweep") == dict.fromkeys(["rates", *names], "rates")
    assert tags(prepared, "sweep_job") == dict(zip(names, ["0", "1"], strict=True))
    assert tags(prepared, "mlflow.parentRunId") == dict.fromkeys(names, parent[0])
    rates = []
    for job in range(2):
        model = json.loads((prepared / f"out/sweeps/rates/{job}/train/model.json").read_text())
        rates.append(model["config"]["optimizer"]["lr"])
    assert rates == [1e-3, 3e-4]


CRASH = """
import os, pathlib, signal
from lightning import Callback

class Crash(Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        is_doomed = trainer.global_rank == 1 and pl_module.optimizer.keywords["lr"] == 3e-3
        if is_doomed and pathlib.Path("crash").exists():
            os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_sweep_continues_past_a_rank_that_dies_and_repeats_only_that_job(prepared, monkeypatch):
    (prepared / "crashing.py").write_text(CRASH)
    (prepared / "conf").mkdir()
    (prepared / "conf/targets.yaml").write_text("configuration: [crashing.Crash]")
    monkeypatch.setenv("PYTHONPATH", f"{prepared}:{os.environ.get('PYTHONPATH', '')}")
    (prepared / "crash").touch()
    line = [
        *QUICK,
        "trainer=ddp_cpu",
        "trainer.max_epochs=1",
        "out=out/sweep",
        "data.root=out/prepare",
    ]
    line += [
        "+callbacks.crash._target_=crashing.Crash",
        "hydra.sweep.dir=out/sweep/jobs",
        "optimizer.lr=3e-3,2e-3",
    ]
    before = set(runs(prepared))
    output = run("train", "-m", *line, cwd=prepared, status=1)
    assert "job 0 (" in output
    assert "optimizer.lr=0.003" in output
    assert "run the same command again to repeat the failed jobs alone" in output
    models = [prepared / f"out/sweep/jobs/{job}/train/model.json" for job in range(2)]
    assert [path.is_file() for path in models] == [False, True]
    first = {run_id: status for run_id, status in runs(prepared).items() if run_id not in before}
    assert len(first) == 3  # with that of the sweep
    assert list(first.values()).count("FINISHED") == 1

    (prepared / "crash").unlink()
    output = run("train", "-m", *line, cwd=prepared)
    assert output.count("this run is finished") == 1
    assert all(path.is_file() for path in models)
    after = {run_id: status for run_id, status in runs(prepared).items() if run_id not in before}
    assert after.keys() == first.keys()  # the job that died goes on in its own run
    assert set(after.values()) == {"FINISHED"}
