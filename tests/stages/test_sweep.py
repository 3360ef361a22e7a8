"""A sweep as users start it: its runs, its failures, killed and started again."""

import json
import os
import re
import signal
import sqlite3
import time

import pytest
from omegaconf import OmegaConf

import commands
from commands import prepare, run, start
from maskmill.tracking.abandoned import PROCESS_TAG

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


def test_a_killed_sweep_continues_in_the_same_runs_and_ends_with_the_best_setting(prepared):
    line = ["-m", *QUICK, "sweep.name=rates", "optimizer.lr=1e-3,2e-3,3e-4"]
    folder = prepared / "out/sweeps/rates"
    submitted = ["hydra/launcher=submitit", "hydra.launcher.num_jobs=1"]
    process = start("train", *line, *submitted, cwd=prepared)
    while not (folder / "0/job.json").is_file() and process.poll() is None:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()  # until job and training, which hold the pipe, have ended too
    assert "maskmill_submitit" in (folder / "multirun.yaml").read_text()
    output = run("train", *line, cwd=prepared)  # another launcher is the same sweep
    assert output.count("this run is finished") == 1

    names = [f"optimizer.lr={rate}" for rate in ("0.001", "0.002", "0.0003")]
    assert dict(query(prepared, "select name, status from runs")) == dict.fromkeys(
        ["rates", *names], "FINISHED"
    )
    ((parent,),) = query(prepared, "select run_uuid from runs where name = 'rates'")
    assert len(runs(prepared)) == 4
    assert tags(prepared, "sweep") == dict.fromkeys(["rates", *names], "rates")
    assert tags(prepared, "sweep_job") == dict(zip(names, ["0", "1", "2"], strict=True))
    assert tags(prepared, "mlflow.parentRunId") == dict.fromkeys(names, parent)
    metrics = query(prepared, f"select key from latest_metrics where run_uuid = '{parent}'")
    assert metrics == [("best_val/PQ",)]

    assert "jobs: 3 finished" in output
    for command in ("predict", "evaluate", "register"):  # all with the inference of the sweep
        assert f"maskmill {command} experiment=best_rates out=out/sweeps/rates/" in output
    best = OmegaConf.load(prepared / "conf/experiment/best_rates.yaml")
    (job,) = re.findall(r"^best: job (\d)", output, re.MULTILINE)
    model = json.loads((folder / job / "train/model.json").read_text())
    rate = best.optimizer.lr
    assert rate == model["config"]["optimizer"]["lr"]
    ((trained,),) = query(prepared, f"select run_uuid from runs where name = 'optimizer.lr={rate}'")
    assert "parallel coordinates" in (folder / "sweep.html").read_text()

    # Another sweep of the best setting trains nothing, and names the run that has trained it.
    again = run("train", "-m", *QUICK, "sweep.name=again", f"optimizer.lr={rate}", cwd=prepared)
    assert "this run is finished" in again
    assert f"its MLflow run: {trained}" in again
    assert f"register.run={trained}" in again


def test_ctrl_c_ends_a_sweep_without_a_traceback(prepared):
    line = ["-m", *QUICK, "sweep.name=stopped", "optimizer.lr=7e-3,8e-3", "trainer.max_epochs=900"]
    process = start("train", *line, cwd=prepared)
    assert process.stdout is not None
    for text in process.stdout:
        if "epoch 1/" in text:
            break
    training = tags(prepared, PROCESS_TAG)["optimizer.lr=0.007"]
    sweep = json.loads((prepared / "out/sweeps/stopped/sweep.json").read_text())["process"]
    groups = dict.fromkeys(os.getpgid(int(name.split()[-2])) for name in (training, sweep))
    for group in groups:
        os.killpg(group, signal.SIGINT)  # as the terminal sends it
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in output
    assert output.splitlines()[-1].endswith("from its last checkpoint if there is one")


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
    (prepared / "conf").mkdir(exist_ok=True)
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


DOOM = """
import os, signal
from hydra.experimental.callback import Callback

class Doom(Callback):
    def on_job_start(self, config, **_):
        if config.draw.seed == 3:
            os.kill(os.getpid(), signal.SIGKILL)
"""
DRAWN = ["draw.num_train=1", "draw.num_val=1", "draw.num_test=1", "draw.out=drawn_${draw.seed}"]


def drawn_in(folder):
    """Path -> bytes of what the jobs have drawn."""
    files = [path for path in folder.glob("drawn_*/**/*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """What two jobs of the basic launcher draw.

    It is a stage without torch, which would take each launcher's own processes ten seconds.
    """
    folder = tmp_path_factory.mktemp("basic")
    run("draw", "-m", "draw.seed=1,2", *DRAWN, cwd=folder)
    assert len(drawn_in(folder)) > 6
    return drawn_in(folder)


def test_joblib_runs_the_jobs_that_the_basic_launcher_runs(tmp_path, drawn):
    run("draw", "-m", "draw.seed=1,2", *DRAWN, "hydra/launcher=joblib", cwd=tmp_path)
    assert drawn_in(tmp_path) == drawn


@pytest.mark.parametrize(("launcher", "reason"), [("submitit", "_log.err"), ("ray", "died")])
def test_a_job_whose_process_is_killed_does_not_end_the_others(launcher, reason, tmp_path, drawn):
    (tmp_path / "dooming.py").write_text(DOOM)
    doom = "+hydra.callbacks.doom._target_=dooming.Doom"
    line = [*DRAWN, doom, f"hydra/launcher={launcher}", "hydra.launcher.num_jobs=1"]
    output = run("draw", "-m", "draw.seed=1,3,2", *line, cwd=tmp_path, status=1)
    (message,) = re.findall("^.*job 1 .*$", output, re.MULTILINE)
    assert "draw.seed=3 " in message
    assert "ended without a result: " in message
    assert reason in message
    assert "run the same command again" in message
    assert "Traceback" not in output
    assert drawn_in(tmp_path) == drawn


def test_ctrl_c_while_a_launcher_waits_ends_its_jobs_too(tmp_path):
    line = ["-m", "draw.seed=1,2", "draw.num_train=20000", "draw.out=drawn_${draw.seed}"]
    process = start("draw", *line, "hydra/launcher=submitit", cwd=tmp_path)
    while len(list(tmp_path.glob("*drawn_*"))) < 2 and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)  # until the jobs, which hold the pipe, have ended
    assert process.returncode == 130
    assert output.splitlines()[-1].endswith("interrupted")
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("has_srun", "reason"), [(False, 'Could not detect "srun"'), (True, "no controller answers")]
)
def test_a_refused_submission_is_told_in_one_line(has_srun, reason, tmp_path, monkeypatch):
    tools = tmp_path / "tools"
    tools.mkdir()
    if has_srun:
        for name, script in {
            "srun": "exit 0",
            "sbatch": "echo no controller answers >&2; exit 1",
        }.items():
            (tools / name).write_text(f"#!/bin/sh\n{script}\n")
            (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    output = run("draw", "-m", "draw.seed=1,2", "hydra/launcher=slurm", cwd=tmp_path, status=1)
    (line,) = (line for line in output.splitlines() if "the jobs were not submitted: " in line)
    assert reason in line
    assert line.endswith("- give the command where slurm runs, or correct hydra.launcher")
    assert "Traceback" not in output
