"""Kill every stage at random moments, damage what it wrote, and run it again; run by hand.

    python -m benchmarks.campaign.kills [--stage train] [--kills 20] [--torn 10] [--seed 0]

For each stage, one run is undisturbed. Then the stage is killed (kill -9, all its processes) at a
random moment and run again, over and over: every second time with the output of an earlier run in
place. After that, the newest file of its output or state is truncated or 64 of its bytes are
flipped, and the stage runs again. Each time, all files of the output must have the bytes of the
undisturbed run; `train` must end as one finished MLflow run in which each step of each metric is
logged once with the same value, and `register` with one version, its alias and whole files.

Every second kill of `train` comes while a checkpoint is written. `--workers 0 2` and `--processes
1 2` kill it in turn with these numbers of loader and training processes. Each trial starts from a
copy of the same folder, and commands are forked from a process that has imported the libraries.
"""

import argparse
import hashlib
import os
import random
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tests import commands

PARAMS = """
set:
  prepare: {workers: 2}
  data: {batch_size: 2, num_workers: 0, crop_size: [64, 64]}
  trainer: {max_epochs: 2, log_every_n_steps: 1}
  callbacks: {resume: {every_n_steps: 1}}
  tracking: {system_metrics: false}
  evaluate: {workers: 2}
"""
DRAWN = ["draw.num_train=8", "draw.num_val=2", "draw.num_test=2", "draw.out=data"]
TIMED_METRICS = ("train/images_per_second", "train/waiting_for_data")
NUM_FLIPPED = 64  # bytes
TRAINING_STATE = "out/state"
BEING_WRITTEN = "*/.*.ckpt.*"  # checkpoints in it


def query(statement):
    with sqlite3.connect("mlflow.db") as database:
        return database.execute(statement).fetchall()


def digests(folder):
    """Path below a folder -> sha256 of the file."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            name = str(path.relative_to(folder))
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def history():
    """What MLflow knows of the trainings, apart from times: the same for each run."""
    values = query("select run_uuid, key, step, value, is_nan from metrics order by key, step")
    runs = {}
    for run_id, *row in values:
        if row[0] not in TIMED_METRICS:
            runs.setdefault(run_id, []).append(row)
    statuses = dict(query("select run_uuid, status from runs"))
    found = {"statuses": set(statuses.values()), "num_runs": len(statuses)}
    for rows in runs.values():
        found[f"metrics {hashlib.sha256(str(rows).encode()).hexdigest()}"] = len(rows)
    return found


def registry():
    """The registered versions, their aliases, and the model files of each."""
    versions = query("select version, status, storage_location from model_versions")
    found = {"aliases": query("select name, alias, version from registered_model_aliases")}
    for version, status, location in versions:
        files = digests(Path(location.removeprefix("file://")) / "artifacts" / "model")
        found[f"version {version}"] = (status, files)
    return found


@dataclass
class Stage:
    """A stage, the folder that it writes and those of its state, and further results."""

    name: str
    folders: list[str]
    overrides: list[str] = field(default_factory=list)
    facts: Callable[[], dict] = dict

    def result(self):
        """Everything that must be equal to the undisturbed run."""
        return {**digests(self.folders[0]), **self.facts()}

    def start(self):
        """Start the stage in the current folder, from its composed configuration as DVC does."""
        if self.name == "compose":
            return commands.start("compose", cwd=Path.cwd())
        conf = ["--config-dir", "out/conf", "--config-name", self.name]
        return commands.start(self.name, *conf, *self.overrides, cwd=Path.cwd())

    def run(self):
        """Run the stage to its end: (has it succeeded?, what it printed)."""
        process = self.start()
        output, _ = process.communicate(timeout=600)
        return process.returncode == 0, output


def pipeline(num_workers=0, num_processes=1):
    """All stages in their order."""
    train = [f"data.num_workers={num_workers}"]
    if num_processes > 1:
        train += [f"trainer.devices={num_processes}", "+trainer.strategy=ddp"]
    return [
        Stage("compose", ["out/conf"]),
        Stage("prepare", ["out/prepare", "out/state/prepare"]),
        Stage("train", ["out/train", TRAINING_STATE], train, history),
        Stage("predict", ["out/predict"]),
        Stage("evaluate", ["out/evaluate"]),
        Stage("register", ["out/register"], facts=registry),
    ]


class Folder:
    """The working folder, and copies of it before and after a stage.

    Trials run at the same path, because MLflow records absolute paths.
    """

    def __init__(self, root):
        self.work = Path(root) / "work"
        self.copies = Path(root) / "copies"
        self.work.mkdir()

    def save(self, name):
        shutil.rmtree(self.copies / name, ignore_errors=True)
        shutil.copytree(self.work, self.copies / name)

    def restore(self, name):
        for path in self.work.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(self.copies / name, self.work, dirs_exist_ok=True)


@dataclass
class Tally:
    """How the disturbed runs of a stage ended."""

    name: str
    seconds: float
    num_killed: int = 0
    num_torn: int = 0
    failures: list[str] = field(default_factory=list)

    def row(self):
        num_equal = self.num_killed + self.num_torn - len(self.failures)
        counts = (self.num_killed, self.num_torn, num_equal, len(self.failures))
        return f"| {self.name} | {self.seconds:.1f} s | {' | '.join(map(str, counts))} |"


class Campaign:
    """Disturbs one stage again and again.

    Args:
        stage: the stage.
        folder: holds what the stages before it wrote.
        generator: chooses moments, lengths and bytes.
    """

    def __init__(self, stage, folder, generator):
        self.stage = stage
        self.folder = folder
        self.generator = generator
        folder.save("before")
        start = time.monotonic()
        succeeded, output = stage.run()
        self.tally = Tally(stage.name, time.monotonic() - start)
        self._longest = self.tally.seconds
        if not succeeded:
            sys.exit(output)
        self.expected = stage.result()
        folder.save("after")

    def kill(self, index):
        """Kill the stage at a random moment, and run it again."""
        while True:  # until it was killed before its end
            start = "after" if index % 2 else "before"
            self.folder.restore(start)
            is_due, moment = self._moment(index)
            if _kill_when(self.stage.start(), is_due):
                break
            self._longest *= 0.9  # the machine is less busy than in the undisturbed run
        self.tally.num_killed += 1
        self._run_again(start, f"kill {index} {moment}")

    def tear(self, index):
        """Damage the newest file of the stage's output or state, and run it again."""
        written = self.stage.folders[index // 2 % len(self.stage.folders)]
        start = "before" if written == TRAINING_STATE else "after"
        self.folder.restore(start)
        if written == TRAINING_STATE:  # it exists only before the end of a training
            count = self.generator.randint(3, 8)
            _kill_when(self.stage.start(), _checkpoint_written(count, delay=0.02))
        path = _newest(written)
        how = "truncated" if index % 2 else "flipped"
        _damage(path, how, self.generator)
        self.tally.num_torn += 1
        self._run_again(start, f"torn {index}: {path} {how}")

    def _moment(self, index):
        if self.stage.name == "train" and index % 4 < 2:
            count = self.generator.randint(1, 9)
            delay = self.generator.uniform(0, 0.02)
            return _checkpoint_written(count, delay), f"at checkpoint {count} + {delay:.3f} s"
        seconds = self.generator.uniform(0, self._longest)
        end = time.monotonic() + seconds
        return lambda: time.monotonic() >= end, f"after {seconds:.2f} s"

    def _run_again(self, start, what):
        succeeded, output = self.stage.run()
        if not succeeded:
            self._fail(f"{what}: {output[-800:]}")
            return
        found = self.stage.result()
        if self.stage.name == "train" and start == "after":
            found["num_runs"] -= 1  # the training of the undisturbed output
        different = [
            key for key in {*found, *self.expected} if found.get(key) != self.expected.get(key)
        ]
        if different:
            self._fail(
                f"{what}: different {different}: {[found.get(key) for key in different]}"[:800]
            )

    def _fail(self, text):
        self.tally.failures.append(text)
        print(f"{self.stage.name}: FAILED {text}", flush=True)


def _kill_when(process, is_due):
    """Kill a process and its children as soon as it is due; False if it ended before."""
    while process.poll() is None:
        if is_due():
            process.kill_group()
            process.communicate(timeout=60)
            return True
        time.sleep(0.0005)
    process.communicate(timeout=60)
    return False


def _checkpoint_written(count, delay):
    """Is this some time after the `count`-th checkpoint began to be written?"""
    seen = set()
    end = []

    def is_due():
        seen.update(Path(TRAINING_STATE).glob(BEING_WRITTEN))
        if len(seen) >= count and not end:
            end.append(time.monotonic() + delay)
        return bool(end) and time.monotonic() >= end[0]

    return is_due


def _newest(folder):
    """The file that was written last, locks aside."""
    files = []
    for path in Path(folder).rglob("*"):
        if path.is_file() and path.stat().st_size and path.name not in {"lock", ".lock"}:
            files.append(path)
    return max(files, key=lambda path: path.stat().st_mtime_ns)


def _damage(path, how, generator):
    """Truncate a file at a random length, or flip bytes of it, in place."""
    content = np.fromfile(path, np.uint8)
    if how == "truncated":
        content = content[: generator.randrange(len(content))]
    else:
        positions = generator.sample(range(len(content)), min(NUM_FLIPPED, len(content)))
        for position in positions:
            content[position] ^= generator.randint(1, 255)
    with path.open("r+b") as file:
        file.write(content.tobytes())
        file.truncate()


def begin(folder):
    """Write what the first stage reads."""
    (folder.work / "params.yaml").write_text(PARAMS)
    commands.run("draw", *DRAWN, cwd=folder.work)


def run_campaign(folder, options):
    """Run the pipeline up to the last chosen stage, and disturb the chosen ones."""
    os.chdir(folder.work)
    begin(folder)
    settings = [(number, count) for number in options.workers for count in options.processes]
    tallies = []
    for index, stage in enumerate(pipeline(*settings[0])):
        variants = settings[1:] if stage.name == "train" else []
        if stage.name not in options.stage:
            stage.run()
            continue
        tallies.append(disturb(stage, folder, options))
        for number, count in variants:
            folder.restore("before")
            tallies.append(disturb(pipeline(number, count)[index], folder, options))
    os.chdir("/")
    return tallies


def disturb(stage, folder, options):
    """Kill and damage one stage; afterwards its undisturbed output is in place."""
    campaign = Campaign(stage, folder, random.Random(f"{options.seed} {stage.name}"))
    for index in range(options.kills):
        campaign.kill(index)
    for index in range(options.torn):
        campaign.tear(index)
        print(time.strftime("%H:%M:%S"), campaign.tally.row(), stage.overrides, flush=True)
    folder.restore("after")
    return campaign.tally


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [stage.name for stage in pipeline()]
    parser.add_argument("--stage", nargs="+", default=names, choices=names)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--torn", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, nargs="+", default=[0])
    parser.add_argument("--processes", type=int, nargs="+", default=[1])
    options = parser.parse_args()
    tallies = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as root:
        tallies = run_campaign(Folder(root), options)
    print("| stage | undisturbed | kills | torn files | equal bytes | failed |")
    print("|---|---|---|---|---|---|")
    for tally in tallies:
        print(tally.row())
    sys.exit(any(tally.failures for tally in tallies))


if __name__ == "__main__":
    main()
