"""Seconds that a job of a sweep takes beyond its training, for each launcher.

python benchmarks/sweep_overhead.py FOLDER [LAUNCHER ...]

FOLDER is a project with a prepared data set. Each launcher trains the same four settings, one at a
time. A job's overhead is the time from the end of the job before it to its own end, without the
seconds that its MLflow run lasted. The first job waits for the imports and is not counted.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import mlflow

COMMAND = [
    *("optimizer.lr=3e-3,2e-3,1e-3,5e-4", "trainer.max_epochs=1", "data.num_workers=0"),
    *(
        "data.batch_size=2",
        "tracking.system_metrics=false",
        "hydra.job.env_set.OMP_NUM_THREADS='1'",
    ),
]
ONE_AT_A_TIME = {
    "basic": [],
    "joblib": ["hydra.launcher.n_jobs=1"],
    "submitit_local": [],  # all jobs at once
    "ray": ["hydra.launcher.num_jobs=1"],
}


def main(folder, launchers):
    client = mlflow.MlflowClient(f"sqlite:///{folder.resolve() / 'mlflow.db'}")
    for launcher in launchers:
        name = f"overhead_{launcher}_{time.time():.0f}"
        state = f"train.state=out/{name}"
        options = [f"sweep.name={name}", f"hydra/launcher={launcher}", *ONE_AT_A_TIME[launcher]]
        line = [sys.executable, "-m", "maskmill.stages.train", "-m", *COMMAND, *options, state]
        begin = time.perf_counter()
        subprocess.run(line, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        total = time.perf_counter() - begin
        jobs = folder / "out/sweeps" / name
        ends = [(jobs / f"{job}/job.json").stat().st_mtime for job in range(4)]
        record = json.loads((jobs / "sweep.json").read_text())
        overheads = []
        for job in range(1, 4):
            (run,) = client.search_runs(
                [client.get_run(record["run"]).info.experiment_id],
                f"tags.sweep = '{name}' and tags.sweep_job = '{job}'",
            )
            trained = (run.info.end_time - run.info.start_time) / 1000
            overheads.append(ends[job] - ends[job - 1] - trained)
        scores = [json.loads((jobs / f"{job}/job.json").read_text())["score"] for job in range(4)]
        text = ", ".join(f"{overhead:.2f}" for overhead in overheads)
        print(f"{launcher}: {text} s a job, {total:.1f} s in all, scores {scores}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or list(ONE_AT_A_TIME))
