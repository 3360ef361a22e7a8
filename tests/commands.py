"""Commands as users start them, each in a process of its own.

Importing torch, Lightning and MLflow takes ten seconds, so the processes are forked from a server
that has imported them, and so are the processes that they start.
"""

import atexit
import fcntl
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from types import SimpleNamespace

SMALL_ENCODER = "test_resnet"  # timm's network for tests, a thirteenth of resnet10t
QUICK = [
    f"encoder.name={SMALL_ENCODER}",
    "data.num_workers=0",
    "data.batch_size=2",
    "tracking.system_metrics=false",
    "trainer.log_every_n_steps=1",
    "train.calibrate=false",
]
QUICK_PANOPTIC = [*QUICK, "network.dual_decoder=false"]  # of the default network
# Left by pytest or an outer training run, these would lead a command elsewhere.
REMOVED = {"MLFLOW_TRACKING_URI", "DVC_ROOT", "MASTER_ADDR", "MASTER_PORT"}
TESTS = Path(__file__).parent
FOLDER_VARIABLE = "MASKMILL_TESTS_SERVER"
SERVERS = []


@cache
def server_folder():
    """The folder of the server of this process and of those that it starts.

    The server ends when this process does, since nobody holds the pipe `alive` open any more.
    """
    if FOLDER_VARIABLE in os.environ:
        return Path(os.environ[FOLDER_VARIABLE])
    folder = Path(tempfile.mkdtemp(prefix="maskmill-tests-"))
    os.environ[FOLDER_VARIABLE] = str(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.mkfifo(folder / "alive")
    os.open(folder / "alive", os.O_RDWR)
    command = [sys.executable, "-IS", TESTS / "preloaded_python.py", folder]
    words = " ".join(shlex.quote(str(word)) for word in command)
    for name, arguments in (("python", ""), ("dvc", "-m dvc ")):
        (folder / name).write_text(f'#!/bin/sh\nexec {words} {arguments}"$@"\n')
        (folder / name).chmod(0o755)
    return folder


def start_server():
    """Start the server; it is ready when there is `socket`, and failed when `started` is gone."""
    folder = server_folder()
    (folder / "started").touch()
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, TESTS / "preloaded_server.py", folder],
            stdout=log,
            stderr=log,
            env=command_environment(),
            start_new_session=True,
        )
    SERVERS.append(server)  # until the end, since Popen warns of processes that run on


@cache
def preloaded_python():
    """An executable with the command line of Python that runs commands in forked processes.

    Its folder holds it as `python`, and `dvc` beside it, for programs that look for them on the
    PATH.
    """
    folder = server_folder()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process of pytest-xdist may start it
        if not (folder / "started").exists():
            start_server()
    while not (folder / "socket").exists():
        assert (folder / "started").exists(), (folder / "log").read_text()
        assert all(server.poll() is None for server in SERVERS), (folder / "log").read_text()
        time.sleep(0.05)
    return folder / "python"


class Command(subprocess.Popen):
    """A running command; its output and error messages come as one text."""

    def kill_group(self):
        """Kill the process and those that it started."""
        os.killpg(self.pid, signal.SIGKILL)


def command_environment(**changes):
    """The environment of this process without what pytest or an outer training run left there."""
    kept = {key: value for key, value in os.environ.items() if key not in REMOVED}
    return kept | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"} | changes


def start_module(module, *arguments, cwd, **environment):
    """Start `python -m module`."""
    return Command(
        [preloaded_python(), "-m", module, *arguments],
        cwd=cwd,
        env=command_environment(**environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def start(command, *overrides, cwd, **environment):
    """Start a stage."""
    return start_module(f"maskmill.stages.{command}", *overrides, cwd=cwd, **environment)


def run(command, *overrides, cwd, status=0):
    """Run a stage to its end, with that exit status; returns its output."""
    process = start(command, *overrides, cwd=cwd)
    output, _ = process.communicate(timeout=900)
    assert process.returncode == status, output
    return output


def result(command, *overrides, cwd):
    """Run a stage to its end, whatever its exit status; returns `returncode` and `stdout`."""
    process = start(command, *overrides, cwd=cwd)
    output, _ = process.communicate(timeout=900)
    return SimpleNamespace(returncode=process.returncode, stdout=output, stderr="")


def prepare(folder, *, num_train, num_val=3):
    """Draw scenes and prepare them, in a project with an empty tracking store."""
    preloaded_python()
    shutil.copy(server_folder() / "mlflow.db", folder)
    numbers = [f"draw.num_train={num_train}", f"draw.num_val={num_val}", "draw.num_test=1"]
    run("draw", *numbers, "draw.out=data", cwd=folder)
    run("prepare", "prepare.workers=1", cwd=folder)
    return folder
