"""Does a pruned search find a better setting than a grid in the same CPU time?

    python benchmarks/search.py OUT [--seeds 0 1 2] [--epochs 8]

OUT is a new folder, in which 32 scenes are drawn and prepared. For each seed, a grid of eight
settings is trained (four learning rates, two weight decays), and the CPU time of its processes is
added up. Then `hydra/sweeper=optuna` with the median pruner searches the rectangle that the grid
spans, until its processes have used as much CPU time, and is stopped by SIGTERM. Both are forked
from this process after it has imported the libraries, so the time is that of the trainings. The
score of a setting is its best val/mIoU; the seed is that of the trainings and of the search.
"""

import argparse
import json
import multiprocessing
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import optuna
import psutil

from maskmill.assembly.study import open_storage
from maskmill.stages import cli
from maskmill.training.launching import import_ahead

DRAW = ["draw.num_train=24", "draw.num_val=8", "draw.num_test=1", "draw.out=data"]
GRID = ["optimizer.lr=1e-4,5e-4,2e-3,1e-2", "optimizer.weight_decay=1e-4,1e-2"]
SPACE = [
    "optimizer.lr=tag(log,interval(1e-4,1e-2))",
    "optimizer.weight_decay=tag(log,interval(1e-4,1e-2))",
]
SEARCH = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=1000"]
POLL_S = 0.1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=8)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True)
    os.chdir(arguments.out)
    os.environ["OMP_NUM_THREADS"] = "1"
    command_cpu_s("draw", ["draw", *DRAW])
    command_cpu_s("prepare", ["prepare", "prepare.workers=1"])
    import_ahead("maskmill.stages.train_worker")
    print("| seed | CPU s | its best of 8 | trials (pruned) | best of the search |")
    print("|---|---|---|---|---|")
    for seed in arguments.seeds:
        compare(seed, arguments.epochs)


def compare(seed, num_epochs):
    """Print the row of a seed."""
    common = [
        f"seed={seed}",
        f"trainer.max_epochs={num_epochs}",
        "network=unet",
        "data.crop_size=[64,96]",
        "data.num_workers=0",
        "train.calibrate=false",
        "tracking.system_metrics=false",
        "~callbacks.pictures",
    ]
    cpu_s = sweep_cpu_s(f"grid_{seed}", [*common, *GRID])
    options = [*SEARCH, f"hydra.sweeper.seed={seed}"]
    used_s = sweep_cpu_s(f"search_{seed}", [*options, *common, *SPACE], budget_s=cpu_s)
    grid = []
    for path in Path(f"out/sweeps/grid_{seed}").glob("*/job.json"):
        grid.append(json.loads(path.read_text())["score"])
    assert len(grid) == 8
    storage = open_storage(f"out/sweeps/search_{seed}/study.journal")
    study = optuna.load_study(study_name=f"search_{seed}", storage=storage)
    states = [trial.state.name for trial in study.get_trials()]
    num_ended = states.count("COMPLETE") + states.count("PRUNED")
    print(
        f"| {seed} | {cpu_s:.0f} and {used_s:.0f} | {max(grid):.4f} "
        f"| {num_ended} ({states.count('PRUNED')}) | {study.best_value:.4f} |",
        flush=True,
    )


def sweep_cpu_s(name, overrides, budget_s=float("inf")):
    """Run a multirun to its end or to its budget; returns the CPU seconds of its processes."""
    return command_cpu_s(name, ["train", "-m", f"sweep.name={name}", *overrides], budget_s)


def command_cpu_s(name, line, budget_s=float("inf")):
    """Run a command in a forked process, which writes NAME.log."""
    process = multiprocessing.get_context("fork").Process(target=run, args=(name, line))
    process.start()
    seen_s = {}
    while process.is_alive():
        note_cpu_time(process.pid, seen_s)
        if sum(seen_s.values()) >= budget_s:
            os.kill(process.pid, signal.SIGTERM)
            process.join()
        time.sleep(POLL_S)
    assert process.exitcode == 0 or budget_s < float("inf"), Path(f"{name}.log").read_text()
    return sum(seen_s.values())


def run(name, line):
    """`maskmill LINE`, in this process."""
    log = os.open(f"{name}.log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    sys.argv[1:] = line
    cli.main()


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
