"""Commands as users start them, each in a process of its own.

Importing torch, Lightning and MLflow takes ten seconds, so the processes are forked from a server
that has imported them; a command that gets environment variables of its own starts from a fresh
interpreter.
"""

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from types import SimpleNamespace

QUICK = [
    "data.num_workers=0",
    "data.batch_size=2",
    "tracking.system_metrics=false",
    "trainer.log_every_n_steps=1",
]
# Left by pytest or an outer training run, these would lead a command elsewhere.
REMOVED = {"MLFLOW_TRACKING_URI", "DVC_ROOT", "MASTER_ADDR", "MASTER_PORT"}
PRELOADED = [
    "maskmill.assembly.training_job",
    "maskmill.assembly.tuning",
    "maskmill.serving.prediction_folder",
    "maskmill.networks.panoptic_deeplab",
    "maskmill.networks.encoders",
    "albumentations",
]

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(PRELOADED)


class Forked:
    """A command in a forked process, with the part of `subprocess.Popen` that the tests use."""

    def __init__(self, module, overrides, cwd, environment):
        self._folder = tempfile.TemporaryDirectory()
        fifo = Path(self._folder.name) / "output"
        os.mkfifo(fifo)
        arguments = (module, overrides, str(cwd), environment, str(fifo))
        self._process = _server.Process(target=_run_module, args=arguments)
        self._process.start()
        self.pid = self._process.pid
        self.stdout = fifo.open()  # waits for the process to open its end

    @property
    def returncode(self):
        return self._process.exitcode

    def communicate(self, timeout=None):
        output = self.stdout.read()
        self._process.join(timeout)
        assert self._process.exitcode is not None, f"still running after {timeout} s"
        self._folder.cleanup()
        return output, None

    def send_signal(self, number):
        os.kill(self.pid, number)

    def terminate(self):
        self._process.terminate()

    def kill(self):
        self._process.kill()

    def is_alive(self):
        return self._process.is_alive()

    def kill_group(self):
        """Kill the process and those that it started."""
        os.killpg(self.pid, signal.SIGKILL)


def _run_module(module, overrides, cwd, environment, fifo):
    os.setsid()  # a process group of its own
    output = os.open(fifo, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.close(output)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = [module, *overrides]
    status = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    finally:  # what the end of an interpreter does, which a forked process leaves out
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def start(command, *overrides, cwd, **environment):
    """Start a stage; its output and error messages come as one text."""
    kept = {key: value for key, value in os.environ.items() if key not in REMOVED}
    kept |= {"OMP_NUM_THREADS": "1", "COLUMNS": "200"} | environment
    module = f"maskmill.stages.{command}"
    if not environment:
        return Forked(module, overrides, cwd, kept)
    return subprocess.Popen(
        [sys.executable, "-m", module, *overrides],
        cwd=cwd,
        env=kept,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


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
    """Draw scenes and prepare them."""
    numbers = [f"draw.num_train={num_train}", f"draw.num_val={num_val}", "draw.num_test=1"]
    run("draw", *numbers, "draw.out=data", cwd=folder)
    run("prepare", "prepare.workers=1", cwd=folder)
    return folder
