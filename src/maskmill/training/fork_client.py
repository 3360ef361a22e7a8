"""Asks for a process of a sweep's fork server: `python fork_client.py MODULE PYTHON-ARGUMENTS`.

The process runs `main` of MODULE with the last argument. Without a server, this process becomes a
Python with the arguments. It imports the standard library alone, so that it starts in milliseconds.
"""

import json
import os
import signal
import socket
import sys
import tempfile
from contextlib import suppress

ADDRESS_VARIABLE = "MASKMILL_FORK_SERVER"
READY = b"\n"  # what the server sends first, once it has imported its modules
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def address_variable(address: str) -> str:
    """The value of `ADDRESS_VARIABLE` for the server with an address."""
    return f"{_allocation()}:{address}"


def connect() -> socket.socket | None:
    """Connect to the server that this process or an ancestor of it has started, if it still runs.

    A job of SLURM may use other cores and other memory than the server: it has none.
    """
    allocation, _, address = os.environ.get(ADDRESS_VARIABLE, "").partition(":")
    if not address or allocation != _allocation():
        return None
    connection = socket.socket(socket.AF_UNIX)
    with suppress(OSError):  # on another machine, or it has ended
        connection.connect(address)
        if connection.recv(1) == READY:  # one that is being killed may still be connected to
            return connection
    connection.close()
    return None


def ask(connection: socket.socket, arguments: list[str]) -> None:
    """Ask for a process with these arguments, the first of which names its module.

    It gets the environment, the working directory and the output of this process.
    """
    request = {
        "arguments": arguments,
        "folder": os.getcwd(),  # noqa: PTH109 - pathlib takes long to import
        "environment": dict(os.environ),
    }
    with tempfile.TemporaryFile("w") as file:
        json.dump(request, file)
        file.seek(0)
        socket.send_fds(connection, [b"\0"], [file.fileno(), 1, 2])


def send_signal(connection: socket.socket, number: int) -> None:
    """Send a signal to the process."""
    with suppress(OSError):  # it has ended
        connection.sendall(bytes([number]))


def receive_status(connection: socket.socket) -> int:
    """Wait for the end of the process: its exit status, or the negative number of a signal."""
    answer = b""
    with suppress(ConnectionError):
        while received := connection.recv(64):
            answer += received
    return int(answer) if answer else -signal.SIGKILL  # the server was killed, with all it forked


def _allocation() -> str:
    return os.environ.get("SLURM_JOB_ID", "")


def main(module: str, arguments: list[str]) -> None:
    """Run the module in a process of the server, and end as it ends."""
    connection = connect()
    if connection is None:
        os.execv(sys.executable, [sys.executable, *arguments])
    for number in PASSED_ON:
        signal.signal(number, lambda number, _: send_signal(connection, number))
    ask(connection, [module, arguments[-1]])
    status = receive_status(connection)
    if -status in PASSED_ON:
        signal.signal(-status, signal.SIG_DFL)
    if status < 0:
        os.kill(os.getpid(), -status)
    sys.exit(status)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
