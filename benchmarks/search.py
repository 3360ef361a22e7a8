"""Does a pruned search find a better setting than a grid in the same CPU time?

    python benchmarks/search.py OUT [--seeds 0 1 2] [--epochs 6]

OUT is a new folder, in which scenes are drawn and prepared. For each seed, a grid of eight
settings is trained (four learning rates, two weight decays), and the CPU time of its processes is
added up. Then `hydra/sweeper=optuna` with the median pruner searches the rectangle that the grid
spans, until its processes have used as much CPU time, and is stopped by SIGTERM. Both run in this
process, which has imported the libraries before, so the time is that of the trainings. The score of
a setting is its best val/mIoU; the seed is that of the trainings and of the search.
"""

import argparse
import json
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

import optuna
import psutil
from hydra.core.global_hydra import GlobalHydra

from maskmill.assembly.study import open_storage
from maskmill.assembly.sweep_record import FORKED
from maskmill.stages import cli
from maskmill.training.launching import EXIT_SIGTERM, import_ahead

DRAW = ["draw.num_train=12", "draw.num_val=3", "draw.num_test=1", "draw.out=data"]
GRID = ["optimizer.lr=1e-4,1e-3,1e-2,1e-1", "optimizer.weight_decay=1e-4,1e-2"]
SPACE = [
    "optimizer.lr=tag(log,interval(1e-4,1e-1))",
    "optimizer.weight_decay=tag(log,interval(1e-4,1e-2))",
]
SEARCH = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=1000"]
POLL_S = 0.1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=6)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True)
    os.chdir(arguments.out)
    os.environ["OMP_NUM_THREADS"] = "1"
    run("draw", ["draw", *DRAW])
    run("prepare", ["prepare", "prepare.workers=1"])
    import_ahead(FORKED)
    run("warm_up", ["train", *common_options(0, 1)])
    print("| seed | CPU s | its best of 8 | trials (pruned) | best of the search |")
    print("|---|---|---|---|---|")
    for seed in arguments.seeds:
        compare(seed, arguments.epochs)


def compare(seed, num_epochs):
    """Print the row of a seed."""
    common = common_options(seed, num_epochs)
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


def common_options(seed, num_epochs):
    """What both share."""
    return [
        f"seed={seed}",
        f"trainer.max_epochs={num_epochs}",
        "network=unet",
        "encoder.name=mobilenetv3_small_050",
        "network.decoder.decoder_channels=[32,16,16,8,8]",
        "data.batch_size=4",
        "data.num_workers=0",
        "train.calibrate=false",
        "tracking.system_metrics=false",
        "~callbacks.pictures",
        "~callbacks.resume",
    ]


def sweep_cpu_s(name, overrides, budget_s=float("inf")):
    """Run a multirun to its end or to its budget; returns the CPU seconds of its processes."""
    clock = CpuClock()
    ended = threading.Event()

    def watch():
        while not ended.wait(POLL_S):
            if clock.read_s() >= budget_s:
                os.kill(os.getpid(), signal.SIGTERM)
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    run(name, ["train", "-m", f"sweep.name={name}", *overrides])
    ended.set()
    watcher.join()
    return clock.read_s()


def run(name, line):
    """`maskmill LINE` in this process; its output goes to NAME.log."""
    log = os.open(f"{name}.log", os.O_WRONLY | os.O_CREAT)
    streams = [os.dup(number) for number in (1, 2)]
    for number in (1, 2):
        os.dup2(log, number)
    GlobalHydra.instance().clear()
    sys.argv[1:] = line
    status = 0
    try:
        cli.main()
    except SystemExit as ended:
        status = ended.code
    finally:
        for number, stream in zip((1, 2), streams, strict=True):
            os.dup2(stream, number)
        os.close(log)
    assert status in (None, 0, EXIT_SIGTERM), Path(f"{name}.log").read_text()


class CpuClock:
    """CPU seconds of this process and those that it starts, from now on."""

    def __init__(self):
        self.seen_s = {}
        self.start_s = self.read_s()

    def read_s(self):
        root = psutil.Process()
        for process in [root, *root.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                self.seen_s[process.pid, process.create_time()] = times.user + times.system
        return sum(self.seen_s.values()) - getattr(self, "start_s", 0.0)


if __name__ == "__main__":
    main()
