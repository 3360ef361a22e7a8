"""Seconds that a job of a sweep takes beyond its training, for each launcher.

    python benchmarks/sweep_overhead.py OUT [LAUNCHER ...]

OUT is a new folder, in which six scenes are drawn and prepared. Each launcher trains the same four
settings with one thread, one at a time, and the sha256 of each job's weights must be that of the
first launcher. A job's overhead is the time from the end of the job before it to its own end,
without the seconds that its MLflow run lasted. The first job waits for the imports and is not
counted. `command` stands beside them: the time of `maskmill train` without a sweep, which imports
the libraries, beyond its run.
"""

import hashlib
import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import mlflow

from maskmill.serving.model_files import read_model
from maskmill.tracking.lineage import MODEL_TAG

DRAW = ["draw.num_train=4", "draw.num_val=2", "draw.num_test=1", "draw.out=data"]
RATES = ("0.003", "0.002", "0.001", "0.0005")
TRAIN = [
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
    "submitit": ["hydra.launcher.num_jobs=1"],
}
LAUNCHERS = [*ONE_AT_A_TIME, "command"]


def main(folder, launchers):
    folder.mkdir(parents=True)
    run(folder, "draw", *DRAW)
    run(folder, "prepare", "prepare.workers=1")
    expected = None
    for launcher in launchers:
        begin = time.perf_counter()
        measure = together if launcher in ONE_AT_A_TIME else without_sweep
        models, seconds = measure(folder, launcher)
        total = time.perf_counter() - begin
        weights = [sha256(model / "model.safetensors") for model in models]
        expected = expected or weights
        assert weights == expected, (weights, expected)
        print(
            f"{launcher}: {', '.join(f'{value:.2f}' for value in seconds)} s a job, "
            f"{total:.1f} s in all, load {os.getloadavg()[0]:.0f}, weights "
            f"{', '.join(digest[:8] for digest in weights)}",
            flush=True,
        )


def together(folder, launcher):
    """One sweep; the folders of its models, and the overheads of the jobs but the first."""
    options = [f"sweep.name={launcher}", f"hydra/launcher={launcher}", *ONE_AT_A_TIME[launcher]]
    rates = f"optimizer.lr={','.join(RATES)}"
    run(folder, "train", "-m", *TRAIN, rates, *options, f"train.state=out/state_{launcher}")
    jobs = folder / "out/sweeps" / launcher
    ends = [(jobs / f"{job}/job.json").stat().st_mtime for job in range(len(RATES))]
    seconds = []
    for job, (before, end) in enumerate(pairwise(ends), start=1):
        seconds.append(end - before - run_seconds(folder, jobs / f"{job}/train"))
    return [jobs / f"{job}/train" for job in range(len(RATES))], seconds


def without_sweep(folder, launcher):
    """A command for each setting; the folders of the models, and the overhead of each command."""
    models, seconds = [], []
    for rate in RATES:
        out = Path("out") / f"{launcher}_{rate}"
        begin = time.perf_counter()
        run(folder, "train", *TRAIN, f"optimizer.lr={rate}", f"out={out}", "data.root=out/prepare")
        waited = time.perf_counter() - begin
        models.append(folder / out / "train")
        seconds.append(waited - run_seconds(folder, models[-1]))
    return models, seconds


def run(folder, stage, *overrides):
    """A command, whose output is shown if it fails."""
    line = [sys.executable, "-m", f"maskmill.stages.{stage}", *overrides]
    done = subprocess.run(
        line, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run_seconds(folder, model):
    """Seconds that the latest MLflow run of a model lasted."""
    client = mlflow.MlflowClient(f"sqlite:///{folder.resolve() / 'mlflow.db'}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    query = f"tags.`{MODEL_TAG}` = '{read_model(model).fingerprint}'"
    latest = client.search_runs(experiments, query, order_by=["attributes.start_time DESC"])[0]
    return (latest.info.end_time - latest.info.start_time) / 1000


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or LAUNCHERS)
