"""Seconds that a job of a sweep takes beyond its training, for each launcher.

    python benchmarks/sweep_overhead.py OUT [LAUNCHER ...]

OUT is a new folder, in which six scenes are drawn and prepared. Each launcher trains the same four
settings with one thread, one at a time, and the sha256 of each job's weights must be that of the
first launcher. A job's overhead is the time from the end of the job before it to its own end,
without the seconds that its MLflow run lasted. The first job waits for the imports and is not
counted. submitit starts all jobs at once, each as a program of its own that imports the libraries,
as SLURM does; their overhead is not measured.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import mlflow

DRAW = ["draw.num_train=4", "draw.num_val=2", "draw.num_test=1", "draw.out=data"]
TRAIN = [
    "optimizer.lr=3e-3,2e-3,1e-3,5e-4",
    "network=unet",
    "trainer.max_epochs=1",
    "data.num_workers=0",
    "data.batch_size=2",
    "train.calibrate=false",
    "tracking.system_metrics=false",
    "+hydra.job.env_set.OMP_NUM_THREADS='1'",
]
ONE_AT_A_TIME = {
    "basic": [],
    "joblib": ["hydra.launcher.n_jobs=1"],
    "ray": ["hydra.launcher.num_jobs=1"],
    "submitit_local": [],
}
JOBS = range(4)


def main(folder, launchers):
    folder.mkdir(parents=True)
    run(folder, "draw", *DRAW)
    run(folder, "prepare", "prepare.workers=1")
    expected = None
    for launcher in launchers:
        options = [f"sweep.name={launcher}", f"hydra/launcher={launcher}", *ONE_AT_A_TIME[launcher]]
        begin = time.perf_counter()
        run(folder, "train", "-m", *TRAIN, *options, f"train.state=out/state_{launcher}")
        total = time.perf_counter() - begin
        jobs = folder / "out/sweeps" / launcher
        weights = [sha256(jobs / f"{job}/train/model.safetensors") for job in JOBS]
        expected = expected or weights
        assert weights == expected, (weights, expected)
        measured = "" if launcher == "submitit_local" else f"{overheads(folder, jobs)} s a job, "
        print(
            f"{launcher}: {measured}{total:.1f} s in all, load {os.getloadavg()[0]:.0f}, weights "
            f"{', '.join(digest[:8] for digest in weights)}",
            flush=True,
        )


def run(folder, stage, *overrides):
    """A command, whose output is shown if it fails."""
    line = [sys.executable, "-m", f"maskmill.stages.{stage}", *overrides]
    done = subprocess.run(
        line, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def overheads(folder, jobs):
    """Seconds of the jobs but the first, as text."""
    client = mlflow.MlflowClient(f"sqlite:///{folder.resolve() / 'mlflow.db'}")
    parent = json.loads((jobs / "sweep.json").read_text())["run"]
    experiment = client.get_run(parent).info.experiment_id
    ends = [(jobs / f"{job}/job.json").stat().st_mtime for job in JOBS]
    texts = []
    for job in JOBS[1:]:
        query = f"tags.`mlflow.parentRunId` = '{parent}' and tags.sweep_job = '{job}'"
        (found,) = client.search_runs([experiment], query)
        trained = (found.info.end_time - found.info.start_time) / 1000
        texts.append(f"{ends[job] - ends[job - 1] - trained:.2f}")
    return ", ".join(texts)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or list(ONE_AT_A_TIME))
