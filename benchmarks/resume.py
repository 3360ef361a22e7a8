"""Kill training at random moments, start it again, and hold the weights against those of a training nobody disturbed.

    python benchmarks/resume.py [--kills 20] [--seed 0] [--workers 0 2] [--processes 1 2]

For each number of loader workers and processes: one whole training, then one that is killed (-9, all its processes) again and again, its
share of `--kills`; of each five, one strikes while a checkpoint is being made and written, and one within validation. Each killed training
must end with the same weights, byte for byte, in one MLflow run, with each step of each metric logged once and with the same value.
"""

import argparse
import hashlib
import itertools
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OVERRIDES = [
    "data.batch_size=2",
    "trainer.max_epochs=5",
    "trainer.log_every_n_steps=1",
    "tracking.system_metrics=false",
]
OVERRIDES += [
    "callbacks.resume.every_n_steps=1",
    "data.root=out/prepare",
    "+callbacks.moments._target_=moments.Moments",
]

# Says in a file where the training is, so that a kill can strike there.
MOMENTS = """
import pathlib
from lightning import Callback

class Moments(Callback):
    def _say(self, trainer, text):
        if trainer.is_global_zero:
            pathlib.Path("moment").write_text(text)

    def on_train_batch_start(self, trainer, *_):
        self._say(trainer, "step")

    def on_validation_batch_start(self, trainer, *_):
        self._say(trainer, "validation")

    def on_save_checkpoint(self, trainer, *_):
        self._say(trainer, "checkpoint")
"""


def run(command, *overrides):
    line = [sys.executable, "-m", f"maskmill.stages.{command}", *overrides]
    done = subprocess.run(
        line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stdout)


def weights(out):
    return hashlib.sha256((Path(out) / "train/model.safetensors").read_bytes()).hexdigest()


def killed(overrides, moment, random_):
    """Start a training and kill it at the moment; False where it ended before."""
    Path("moment").write_text("")
    line = [sys.executable, "-m", "maskmill.stages.train", *overrides]
    with Path("log").open("w") as log:
        process = subprocess.Popen(
            line, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    left = random_.randint(1, 3)  # the how-manieth such moment of this start
    before = ""
    while process.poll() is None:
        now = Path("moment").read_text()
        if now != before:
            left -= now == moment
            before = now
        if left <= 0:
            time.sleep(random_.uniform(0, 0.02))
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.0005)
    if process.returncode:
        sys.exit(Path("log").read_text())
    return False


def steps_logged_twice(run_ids):
    with sqlite3.connect("mlflow.db") as database:
        marks = ",".join("?" * len(run_ids))
        query = f"select count(*) from (select 1 from metrics where run_uuid in ({marks}) group by run_uuid, key, step having count(*) > 1)"
        return database.execute(query, run_ids).fetchone()[0]


def history(run_id):
    with sqlite3.connect("mlflow.db") as database:
        rows = database.execute(
            "select key, step, value from metrics where run_uuid = ? order by key, step", [run_id]
        ).fetchall()
    timed = ("train/images_per_second", "train/waiting_for_data")
    return [row for row in rows if row[0] not in timed]


def run_ids():
    with sqlite3.connect("mlflow.db") as database:
        return [
            row[0]
            for row in database.execute("select run_uuid from runs order by start_time").fetchall()
        ]


def stressed(workers, processes, kills, random_):
    """One setting: whole, then killed so many times."""
    setting = [
        *OVERRIDES,
        f"data.num_workers={workers}",
        f"trainer={'cpu' if processes == 1 else 'ddp_cpu'}",
    ]
    out = f"out/{workers}-{processes}"
    run("train", *setting, f"out={out}/whole")
    known = run_ids()
    attempts = list(
        itertools.islice(
            itertools.cycle(["step", "checkpoint", "step", "validation", "step"]), kills
        )
    )
    done = 0
    for moment in attempts:
        if not killed([*setting, f"out={out}/killed"], moment, random_):
            break  # it ended before that moment came
        done += 1
    if not Path(f"{out}/killed/train/model.json").is_file():
        run("train", *setting, f"out={out}/killed")
    new = [run_id for run_id in run_ids() if run_id not in known]
    same = weights(f"{out}/whole") == weights(f"{out}/killed")
    twice, complete = (
        steps_logged_twice(new),
        len(new) == 1 and history(new[0]) == history(known[-1]),
    )
    print(
        f"{workers} workers, {processes} processes: {done} kills ({', '.join(attempts)}); weights {'equal' if same else 'DIFFER'}, "
        f"{len(new)} MLflow run, {twice} steps logged twice, metrics {'equal' if complete else 'DIFFER'}",
        flush=True,
    )
    return done, same and len(new) == 1 and not twice and complete


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    settings = list(itertools.product(options.workers, options.processes))
    random_ = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("moments.py").write_text(MOMENTS)
        os.environ["PYTHONPATH"] = os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")])
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        run("draw", "draw.num_train=12", "draw.num_val=6", "draw.num_test=1", "draw.out=data")
        run("prepare", "prepare.workers=1")
        results = [
            stressed(workers, processes, -(-options.kills // len(settings)), random_)
            for workers, processes in settings
        ]
        os.chdir("/")
    print(
        f"{sum(done for done, _ in results)} kills; {'all settings hold' if all(holds for _, holds in results) else 'FAILED'}"
    )
    sys.exit(not all(holds for _, holds in results))


if __name__ == "__main__":
    main()
