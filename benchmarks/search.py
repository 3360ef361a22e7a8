"""Does a pruned search find a better setting than a grid in the same CPU time?

    python benchmarks/search.py PREPARED OUT [--seeds 0 1 2] [--epochs 8]

PREPARED is a data set of `maskmill prepare`, as the scenes; OUT is a new folder. For each seed, a
grid of eight settings is trained (four learning rates, two weight decays), and the CPU time of its
processes is added up. Then `hydra/sweeper=optuna` with the median pruner searches the rectangle
that the grid spans, until its processes have used as much CPU time, and is stopped by SIGTERM. Both
start with the same import of the libraries, which counts. The score of a setting is its best
val/mIoU; the seed is that of the trainings and of the search.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import optuna
import psutil

from maskmill.assembly.study import open_storage

GRID = ["optimizer.lr=1e-4,5e-4,2e-3,1e-2", "optimizer.weight_decay=1e-4,1e-2"]
SPACE = [
    "optimizer.lr=tag(log,interval(1e-4,1e-2))",
    "optimizer.weight_decay=tag(log,interval(1e-4,1e-2))",
]
SEARCH = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=1000"]
POLL_S = 0.5


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prepared", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=8)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True)
    print(
        "| seed | CPU s | settings of the grid | its best | trials (pruned) | best of the search |"
    )
    print("|---|---|---|---|---|---|")
    for seed in arguments.seeds:
        compare(arguments, seed)


def compare(arguments, seed):
    """Print the row of a seed."""
    common = [
        f"seed={seed}",
        f"data.root={arguments.prepared.resolve()}",
        f"trainer.max_epochs={arguments.epochs}",
        "network=unet",
        "data.num_workers=0",
        "train.calibrate=false",
        "tracking.system_metrics=false",
    ]
    cpu_s = sweep(arguments.out, f"grid_{seed}", [*common, *GRID])
    options = [*SEARCH, f"hydra.sweeper.seed={seed}"]
    used_s = sweep(arguments.out, f"search_{seed}", [*options, *common, *SPACE], budget_s=cpu_s)
    grid = []
    for path in (arguments.out / f"out/sweeps/grid_{seed}").glob("*/job.json"):
        grid.append(json.loads(path.read_text())["score"])
    storage = open_storage(str(arguments.out / f"out/sweeps/search_{seed}/study.journal"))
    study = optuna.load_study(study_name=f"search_{seed}", storage=storage)
    states = [trial.state.name for trial in study.get_trials()]
    num_ended = states.count("COMPLETE") + states.count("PRUNED")
    print(
        f"| {seed} | {cpu_s:.0f} and {used_s:.0f} | {len(grid)} | {max(grid):.4f} "
        f"| {num_ended} ({states.count('PRUNED')}) | {study.best_value:.4f} |",
        flush=True,
    )


def sweep(folder, name, overrides, budget_s=float("inf")):
    """Run a multirun to its end or to its budget; returns the CPU seconds of its processes."""
    command = [sys.executable, "-m", "maskmill.stages.train", "-m", f"sweep.name={name}"]
    log = (folder / f"{name}.log").open("w")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, *overrides], cwd=folder, env=environment, stdout=log, stderr=log
    )
    seen_s = {}
    while process.poll() is None:
        note_cpu_time(process.pid, seen_s)
        if sum(seen_s.values()) >= budget_s:
            process.send_signal(signal.SIGTERM)
            process.wait()
        time.sleep(POLL_S)
    log.close()
    assert process.returncode == 0 or budget_s < float("inf"), (folder / f"{name}.log").read_text()
    return sum(seen_s.values())


def note_cpu_time(pid, seen_s):
    """Keep the latest CPU time of each process below this one, since ended ones are gone."""
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                seen_s[process.pid, process.create_time()] = times.user + times.system


if __name__ == "__main__":
    main()
