"""The server from which the trainings of a sweep are forked, with a module that imports nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

JOB = """
import os, pathlib, sys, time
from maskmill.training.launching import die_with_parent

def main():
    die_with_parent()
    folder = pathlib.Path(sys.argv[1])
    stream = sys.stderr if "TO_STDERR" in os.environ else sys.stdout
    print(sys.argv[0], pathlib.Path.cwd().name, os.environ.get("VALUE"), file=stream, flush=True)
    (folder / "ids").write_text(f"{os.getpid()} {os.getppid()}")
    if os.environ.get("VALUE") == "crash":
        os.abort()
    while os.environ.get("VALUE") == "wait":
        time.sleep(0.01)
"""
SWEEP = """
import os, subprocess, sys
from pathlib import Path
from maskmill.training.launching import import_ahead, run_forked

def job(name, value=None):
    Path(name).mkdir()
    os.environ["VALUE"] = str(value)
    try:
        run_forked("job_of_test", Path(name).absolute())
    except (ValueError, InterruptedError) as error:
        print(error, flush=True)
    return Path(name, "ids").read_text().split()

def server_of(name):
    return job(name)[1]
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Start a program that has `job` and `server_of`; each test's processes end with it."""
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    (tmp_path / "job_of_test.py").write_text(JOB)
    (tmp_path / "sweep_of_test.py").write_text(SWEEP)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    started = []

    def start_program(program):
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", f"from sweep_of_test import *\n{program}"],
                stdout=subprocess.PIPE,
                text=True,
                cwd=tmp_path,
            )
        )
        return started[-1]

    yield start_program
    for process in started:
        process.kill()
        process.communicate()


def wait_for_ids(folder):
    """The ids of a job and of the server that has forked it."""
    until(lambda: (folder / "ids").is_file() and len((folder / "ids").read_text().split()) == 2)
    return [int(number) for number in (folder / "ids").read_text().split()]


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_running(pid):
    status = Path(f"/proc/{pid}/status")
    try:
        return "zombie" not in status.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_job_has_the_folder_the_environment_and_the_output_of_who_asked_for_it(start, tmp_path):
    program = """
server = server_of("first")
os.chdir("first")
os.environ["TO_STDERR"] = "1"
os.dup2(1, 2)
assert server_of("second") == server
"""
    output, _ = start(program).communicate(timeout=60)
    assert output == f"job_of_test {tmp_path.name} None\njob_of_test first None\n"


def test_a_job_that_crashes_ends_alone(start):
    program = """
pid, server = job("crashing", "crash")
assert server_of("next") == server
"""
    output, _ = start(program).communicate(timeout=60)
    assert f"the status is {-signal.SIGABRT} - see their own message above" in output


def test_a_process_of_the_sweep_uses_its_server_but_no_other_slurm_job_does(start):
    program = """
server = server_of("first")
for name, allocation in (("same", {}), ("other", {"SLURM_JOB_ID": "7"})):
    code = f"from sweep_of_test import *; print(server_of({name!r}))"
    command = [sys.executable, "-c", code]
    environment = {**os.environ, **allocation}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    print(name, done.stdout.splitlines()[-1] == server)
"""
    output, _ = start(program).communicate(timeout=60)
    assert output.splitlines()[1:] == ["same True", "other False"]


def test_sigterm_reaches_the_job(start, tmp_path):
    process = start('job("waiting", "wait")')
    wait_for_ids(tmp_path / "waiting")
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert "the training received SIGTERM - the same command resumes" in output


def test_a_python_that_is_forked_ends_as_its_job_ends_or_is_a_real_one(start):
    program = """
from maskmill.training import fork_client
command = [sys.executable, "-I", "-S", fork_client.__file__, "job_of_test", "-u", "-c", "exit(5)"]

def status(name, value):
    Path(name).mkdir()
    environment = {**os.environ, "VALUE": value}
    return subprocess.run([*command, name], env=environment).returncode

without_server = status("real", "ignored")
server = server_of("first")
print(without_server, status("good", "none"), status("bad", "crash"))
assert server == Path("good/ids").read_text().split()[1]
"""
    output, _ = start(program).communicate(timeout=60)
    assert output.splitlines()[-1] == f"5 0 {-signal.SIGABRT}"


def test_a_job_ends_with_who_asked_for_it_and_no_other_does(start, tmp_path):
    program = """
import_ahead("job_of_test")
for name in ("killed", "other"):
    if os.fork() == 0:
        Path(f"{name}.client").write_text(str(os.getpid()))
        job(name, "wait")
        os._exit(0)
os.wait()
os.wait()
"""
    start(program)
    ids = {name: wait_for_ids(tmp_path / name) for name in ("killed", "other")}
    os.kill(int((tmp_path / "killed.client").read_text()), signal.SIGKILL)
    until(lambda: not is_running(ids["killed"][0]))
    assert is_running(ids["other"][0])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_of_a_sweep_that_was_killed(start, tmp_path, number):
    process = start('job("waiting", "wait")')
    ids = wait_for_ids(tmp_path / "waiting")
    assert all(map(is_running, ids))
    process.send_signal(number)
    process.communicate(timeout=60)
    until(lambda: not any(map(is_running, ids)))
    until(lambda: not list((tmp_path / "tmp").iterdir()))


def test_a_server_that_was_killed_fails_its_jobs_and_is_replaced(start, tmp_path):
    process = start('job("first", "wait"); server_of("second")')
    _, server = wait_for_ids(tmp_path / "first")
    os.kill(server, signal.SIGKILL)
    output, _ = process.communicate(timeout=60)
    assert f"the status is {-signal.SIGKILL} - see their own message above" in output
    assert wait_for_ids(tmp_path / "second")[1] != server
