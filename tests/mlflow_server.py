"""A real MLflow server behind a gate that a test can close: the server seems down."""

import os
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from contextlib import contextmanager, suppress

from commands import preloaded_python

STARTUP_S = 240


class Gate:
    """Passes connections on to a port of this machine; closed, it refuses them.

    Args:
        target: port of the server.
    """

    def __init__(self, target):
        self.target = target
        self.port = free_port()
        self._open_sockets = []
        self._listener = None

    @property
    def uri(self):
        return f"http://127.0.0.1:{self.port}"

    def open(self):
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self):
        """Refuse new connections and break those there are, as a crash of the server does."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        for connection in [listener, *self._open_sockets]:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._open_sockets = []

    def _accept(self, listener):
        with suppress(OSError):  # the gate is closed
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
                self._open_sockets += [client, server]
                for pair in [(client, server), (server, client)]:
                    threading.Thread(target=_pass_on, args=pair, daemon=True).start()


def _pass_on(source, sink):
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def mlflow_server(folder, *, database, artifacts):
    """A gate, still closed, in front of a server with one worker.

    Args:
        folder: for its log.
        database: URI of the runs.
        artifacts: folder or URL of the artifacts.
    """
    port = free_port()
    options = ["--port", str(port), "--workers", "1"]
    options += ["--backend-store-uri", database, "--artifacts-destination", artifacts]
    environment = {key: value for key, value in os.environ.items() if "MLFLOW" not in key}
    environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # four processes, for prompts
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            [preloaded_python(), "-m", "mlflow", "server", *options],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,  # its workers are killed with it
        )
    gate = Gate(port)
    try:
        deadline = time.monotonic() + STARTUP_S
        while not _answers(port):
            in_time = time.monotonic() < deadline and process.poll() is None
            assert in_time, (folder / "server.log").read_text()
            time.sleep(0.1)
        yield gate
    finally:
        gate.close()
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(port):
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
    except OSError:
        return False
    return True
