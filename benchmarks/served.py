"""Servers, clients and time limits for server.py: nothing outlives the script, however it ends."""

import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress

import psutil

STARTUP_S = 120
STOP_S = 20
REQUEST_S = 120
IDLE_S = 10  # servers close a connection that was idle for longer, maskmill serve after 30 s
# The pipe on the standard input closes when the script ends, even by `kill -9`; then the shell
# behind it ends the server and all that it started.
UNTIL_INPUT_CLOSES = 'exec 3<&0 </dev/null; (read -r _ <&3; kill -TERM 0) & exec "$@" 3<&-'


class Client:
    """A connection that stays open, and is opened again where the server closed it."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_S)
        self.used_s = time.monotonic()

    def request(self, path, body=None, kind="application/octet-stream"):
        """Status and body of the answer; without a body, it is a GET."""
        if time.monotonic() - self.used_s > IDLE_S:
            self.connection.close()  # the next request opens it
        method = "GET" if body is None else "POST"
        self.connection.request(method, path, body, {"Content-Type": kind})
        response = self.connection.getresponse()
        answer = response.read()
        self.used_s = time.monotonic()
        return response.status, answer

    def predict(self, data):
        status, answer = self.request("/predict", data)
        if status != 200:
            raise RuntimeError(f"/predict: expected status 200, but got {status}: {answer[:200]}")
        return answer


class Threads:
    """Threads that do the same work; a script that does not wait for them may end.

    Args:
        count: number of threads.
        work: what each does, without arguments.
    """

    def __init__(self, count, work):
        self.errors = []
        self.work = work
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def _run(self):
        try:
            self.work()
        except Exception as error:
            self.errors.append(error)

    def join(self):
        """Wait until all are done, and raise the first error of any."""
        for thread in self.threads:
            thread.join()
        if self.errors:
            raise self.errors[0]


@contextmanager
def serving(command, port, path, *, environment=None, core=None):
    """A Python program that serves, once it answers a GET of `path` with 200.

    Args:
        command: arguments of Python.
        port: that it listens on.
        path: of its health check.
        environment: added to that of this process.
        core: the only one that it may use; None: all.
    """
    process = subprocess.Popen(
        ["sh", "-c", UNTIL_INPUT_CLOSES, "sh", sys.executable, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=os.environ | (environment or {}),
        start_new_session=True,
        preexec_fn=None if core is None else lambda: os.sched_setaffinity(0, [core]),
    )
    try:
        _wait_until_ready(process, port, path)
        yield process
        process.stdin.close()
        process.wait(STOP_S)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{command[:4]} did not stop within {STOP_S} s") from error
    finally:
        process.stdin.close()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_ready(process, port, path):
    end_s = time.monotonic() + STARTUP_S
    while time.monotonic() < end_s:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args}: ended with {process.returncode} before it served")
        with suppress(OSError, http.client.HTTPException):
            if Client(port).request(path)[0] == 200:
                return
        time.sleep(0.2)
    raise RuntimeError(f"{process.args}: {path} did not answer with 200 within {STARTUP_S} s")


@contextmanager
def time_limit(name, limit_s):
    """Raise TimeoutError in what takes longer; the servers that it started end."""

    def expire(signum, frame):
        raise TimeoutError(f"{name}: not finished within {limit_s} s")

    signal.signal(signal.SIGALRM, expire)
    signal.alarm(limit_s)
    try:
        yield
    finally:
        signal.alarm(0)


def end_on_sigterm():
    """Let SIGTERM end this process as an exception does, so that the servers are stopped."""
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(128 + signum))


def memory_mb(process):
    """Of a server and its workers, proportional to sharing."""
    return sum(item.memory_full_info().pss for item in _tree(process)) / 1e6


def cpu_seconds(process):
    """Of a server and its workers, so far."""
    return sum(sum(item.cpu_times()[:2]) for item in _tree(process))


def _tree(process):
    root = psutil.Process(process.pid)
    return [root, *root.children(recursive=True)]
