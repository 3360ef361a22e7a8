import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from maskmill.training.launching import run_worker

WRITE_VARIABLES = """
import os, pathlib, sys
values = [os.environ.get(name, "none") for name in ("LOCAL_RANK", "SLURM_NTASKS")]
pathlib.Path(sys.argv[1], "values").write_text(" ".join(values))
"""


@pytest.fixture
def write_module(tmp_path, monkeypatch):
    """Write the module `worker_of_test`, which `run_worker` can start."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return lambda text: (tmp_path / "worker_of_test.py").write_text(text)


def test_a_worker_gets_its_argument_and_no_rank_of_its_parent(write_module, tmp_path, monkeypatch):
    write_module(WRITE_VARIABLES)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("SLURM_NTASKS", "1")
    run_worker("worker_of_test", tmp_path)
    assert (tmp_path / "values").read_text() == "none none"


def test_a_failing_worker_is_an_error_with_its_status(write_module, tmp_path):
    write_module("raise SystemExit(3)")
    with pytest.raises(ValueError, match="status is 3"):
        run_worker("worker_of_test", tmp_path)


def test_a_worker_that_received_sigterm_is_an_interruption(write_module, tmp_path):
    write_module("raise SystemExit(143)")
    with pytest.raises(InterruptedError, match="received SIGTERM - the same command resumes"):
        run_worker("worker_of_test", tmp_path)


@pytest.mark.parametrize("end", ["raise SystemExit(130)", "os.kill(os.getpid(), signal.SIGINT)"])
def test_a_worker_that_ctrl_c_ended_is_an_interruption(write_module, tmp_path, end):
    write_module(f"import os, signal; signal.signal(signal.SIGINT, signal.SIG_DFL); {end}")
    with pytest.raises(KeyboardInterrupt, match="the same command resumes it, from its last"):
        run_worker("worker_of_test", tmp_path)


DEAF = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: pathlib.Path(sys.argv[1], "received").touch())
pathlib.Path(sys.argv[1], "ready").touch()
while not pathlib.Path(sys.argv[1], "received").exists():
    time.sleep(0.01)
"""


def test_sigterm_is_not_lost_on_a_worker_that_ends_well(write_module, tmp_path):
    write_module(DEAF)

    def terminate_this_process():
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=terminate_this_process).start()
    with pytest.raises(InterruptedError, match="received SIGTERM"):
        run_worker("worker_of_test", tmp_path)


WORKER = """
import time
from maskmill.training.launching import die_with_parent
die_with_parent()
print("ready", flush=True)
time.sleep(60)
"""
PARENT = f"""
import subprocess, sys, time
worker = subprocess.Popen([sys.executable, "-c", {WORKER!r}], stdout=subprocess.PIPE, text=True)
worker.stdout.readline()
print(worker.pid, flush=True)
time.sleep(60)
"""


def is_running(pid):
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "zombie" not in status.read_text()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_a_worker_dies_with_its_killed_parent(tmp_path):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    )
    worker_pid = int(parent.stdout.readline())
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 10
    while is_running(worker_pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_running(worker_pid)
