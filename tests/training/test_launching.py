import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from maskmill.training.launching import run_worker


def write_module(folder, text):
    (folder / "worker_of_test.py").write_text(text)


def test_a_worker_gets_its_argument_and_none_of_the_ranks_of_others(tmp_path, monkeypatch):
    seen = "[os.environ.get(name, 'none') for name in ('LOCAL_RANK', 'SLURM_NTASKS')]"
    program = (
        f"import os, pathlib, sys\npathlib.Path(sys.argv[1], 'seen').write_text(' '.join({seen}))"
    )
    write_module(tmp_path, program)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("SLURM_NTASKS", "1")
    run_worker("worker_of_test", tmp_path)
    assert (tmp_path / "seen").read_text() == "none none"


def test_a_failing_worker_is_an_error_with_its_status(tmp_path, monkeypatch):
    write_module(tmp_path, "raise SystemExit(3)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ValueError, match="status is 3"):
        run_worker("worker_of_test", tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_a_killed_parent_leaves_no_worker_behind(tmp_path):
    worker = "import time; from maskmill.training.launching import die_with_parent; die_with_parent(); time.sleep(60)"
    parent = f"import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', {worker!r}]); print(p.pid, flush=True); time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    time.sleep(2)  # until the worker has asked for the signal
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 10
    while (
        Path(f"/proc/{child}").exists()
        and "zombie" not in Path(f"/proc/{child}/status").read_text()
        and time.monotonic() < deadline
    ):
        time.sleep(0.1)
    assert (
        not Path(f"/proc/{child}").exists() or "zombie" in Path(f"/proc/{child}/status").read_text()
    )
