"""Kill trainings at random moments, restart them, and compare with uninterrupted ones.

    python benchmarks/resume.py [--kills 20] [--seed 0] [--workers 0 2] [--processes 1 2]

For each number of loader workers and processes, one training runs uninterrupted, and another is
killed again and again (kill -9, all its processes), its share of `--kills` times. Of five kills,
one comes while a checkpoint is made and written, and one within validation. Each killed training
must end with the same weights, byte for byte, in one MLflow run, in which each step of each metric
is logged once and with the same value.
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
    "callbacks.resume.every_n_steps=1",
    "data.root=out/prepare",
    "+callbacks.moments._target_=moments.Moments",
]
MOMENTS = ("step", "checkpoint", "step", "validation", "step")
TIMED_METRICS = ("train/images_per_second", "train/waiting_for_data")

# A callback that writes the current moment to a file, so that a kill can be timed by it.
MOMENTS_MODULE = """
import pathlib
from lightning import Callback

class Moments(Callback):
    def _write(self, trainer, moment):
        if trainer.is_global_zero:
            pathlib.Path("moment").write_text(moment)

    def on_train_batch_start(self, trainer, *_):
        self._write(trainer, "step")

    def on_validation_batch_start(self, trainer, *_):
        self._write(trainer, "validation")

    def on_save_checkpoint(self, trainer, *_):
        self._write(trainer, "checkpoint")
"""


def run(command, *overrides):
    result = subprocess.run(
        [sys.executable, "-m", f"maskmill.stages.{command}", *overrides],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode:
        sys.exit(result.stdout)


def weights_digest(out):
    return hashlib.sha256((Path(out) / "train/model.safetensors").read_bytes()).hexdigest()


def start_and_kill(overrides, moment, generator):
    """Start a training and kill it at a moment; False if it ended before."""
    Path("moment").write_text("")
    with Path("log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "maskmill.stages.train", *overrides],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    num_left = generator.randint(1, 3)  # kill at the first, second or third such moment
    previous = ""
    while process.poll() is None:
        current = Path("moment").read_text()
        if current != previous and current == moment:
            num_left -= 1
        previous = current
        if num_left <= 0:
            time.sleep(generator.uniform(0, 0.02))
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.0005)
    if process.returncode:
        sys.exit(Path("log").read_text())
    return False


def query(statement, *values):
    with sqlite3.connect("mlflow.db") as database:
        return database.execute(statement, values).fetchall()


def read_run_ids():
    rows = query("select run_uuid from runs order by start_time")
    return [run_id for (run_id,) in rows]


def num_repeated_steps(run_id):
    """Number of steps of a metric that are logged more than once."""
    repeated = "select 1 from metrics where run_uuid = ? group by key, step having count(*) > 1"
    ((count,),) = query(f"select count(*) from ({repeated})", run_id)
    return count


def history(run_id):
    """All logged values of a run but those that depend on time."""
    rows = query(
        "select key, step, value from metrics where run_uuid = ? order by key, step", run_id
    )
    return [row for row in rows if row[0] not in TIMED_METRICS]


def kill_again_and_again(overrides, num_kills, generator):
    """Number of kills before the training ended, or `num_kills`."""
    moments = itertools.cycle(MOMENTS)
    for index in range(num_kills):
        if not start_and_kill(overrides, next(moments), generator):
            return index
    return num_kills


def check_setting(num_workers, num_processes, num_kills, generator):
    """Compare an uninterrupted and a killed training: number of kills, and are they equal?"""
    trainer = "cpu" if num_processes == 1 else "ddp_cpu"
    setting = [*OVERRIDES, f"data.num_workers={num_workers}", f"trainer={trainer}"]
    out = f"out/{num_workers}-{num_processes}"
    run("train", *setting, f"out={out}/whole")
    known_ids = read_run_ids()
    killed_setting = [*setting, f"out={out}/killed"]
    num_kills = kill_again_and_again(killed_setting, num_kills, generator)
    if not Path(f"{out}/killed/train/model.json").is_file():
        run("train", *killed_setting)
    new_ids = [run_id for run_id in read_run_ids() if run_id not in known_ids]
    is_same = weights_digest(f"{out}/whole") == weights_digest(f"{out}/killed")
    num_repeated = sum(num_repeated_steps(run_id) for run_id in new_ids)
    has_same_history = len(new_ids) == 1 and history(new_ids[0]) == history(known_ids[-1])
    print(
        f"{num_workers} workers, {num_processes} processes: {num_kills} kills; "
        f"weights {'equal' if is_same else 'DIFFER'}, {len(new_ids)} MLflow runs, "
        f"{num_repeated} steps logged more than once, "
        f"metrics {'equal' if has_same_history else 'DIFFER'}",
        flush=True,
    )
    return num_kills, is_same and has_same_history and num_repeated == 0


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
    kills_per_setting = -(-options.kills // len(settings))
    generator = random.Random(options.seed)
    total_kills = 0
    all_equal = True
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("moments.py").write_text(MOMENTS_MODULE)
        Path("conf").mkdir()
        Path("conf/targets.yaml").write_text("configuration: [moments.Moments]")
        os.environ["PYTHONPATH"] = os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")])
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        run("draw", "draw.num_train=12", "draw.num_val=6", "draw.num_test=1", "draw.out=data")
        run("prepare", "prepare.workers=1")
        for num_workers, num_processes in settings:
            num_kills, is_equal = check_setting(
                num_workers, num_processes, kills_per_setting, generator
            )
            total_kills += num_kills
            all_equal = all_equal and is_equal
        os.chdir("/")
    print(f"{total_kills} kills; {'all settings are equal' if all_equal else 'FAILED'}")
    sys.exit(not all_equal)


if __name__ == "__main__":
    main()
