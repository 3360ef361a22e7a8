"""How long MLflow's pages take to answer: `maskmill ui` against `mlflow ui`, on an empty store.

    python benchmarks/ui_start.py

Processor seconds are those of all processes of the command until the first answer; they depend less
on other work on the machine than the time does.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

POLL_S = 0.1


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def measure(command, folder, port):
    """Seconds and processor seconds until the page answers, and the number of processes."""
    start_s = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while not answers(port):
            assert process.poll() is None, command
            time.sleep(POLL_S)
        seconds = time.perf_counter() - start_s
        parent = psutil.Process(process.pid)
        family = [parent, *parent.children(recursive=True)]
        cpu_s = 0.0
        for member in family:
            times = member.cpu_times()
            cpu_s += times.user + times.system
        return seconds, cpu_s, len(family)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def answers(port):
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30).close()
    except (urllib.error.URLError, OSError):
        return False
    return True


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for round_ in range(2):  # the first one creates the database and fills the disk cache
            for words in (["-m", "maskmill.stages.ui"], ["-m", "mlflow", "ui"]):
                port = free_port()
                option = [f"ui.port={port}"] if "mlflow" not in words else ["--port", str(port)]
                measured = measure([sys.executable, *words, *option], folder, port)
                name = " ".join(words[1:])
                text = "{:.1f} s, {:.1f} processor seconds, {} processes".format(*measured)
                print(f"round {round_ + 1}  {name}: {text}", flush=True)


if __name__ == "__main__":
    main()
