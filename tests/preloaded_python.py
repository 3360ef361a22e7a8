"""A Python whose maskmill commands start in milliseconds: `python -m maskmill.stages.train ...`.

`preloaded_server.py` runs them in a forked process; this one passes signals on to it and ends with
its status. Every other command line gets the real interpreter.
"""

import json
import os
import signal
import socket
import struct
import sys
from contextlib import suppress

LENGTH = struct.Struct("!I")
MODULES = (
    "maskmill.stages.",
    "maskmill.training.fork_server",
    "torch.distributed.run",
    "pytest",
    "validate",
    "track",
    "block_",
    "notebook",
    "many_images_growth",
    "dvc",
    "mlflow",
    "uvicorn",
)


def run(folder, module, arguments):
    """Run the module in a process of the server; ends as it ends."""
    server = socket.socket(socket.AF_UNIX)
    server.connect(f"{folder}/socket")
    request = {
        "python": f"{folder}/python",
        "module": module,
        "arguments": arguments,
        "cwd": os.getcwd(),  # noqa: PTH109 - pathlib takes as long to import as all else
        "environment": dict(os.environ),
    }
    content = json.dumps(request).encode()
    socket.send_fds(server, [b"x"], [0, 1, 2])
    server.sendall(LENGTH.pack(len(content)) + content)
    pid = read_number(server)

    def pass_on(number, _):
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(pid, number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, pass_on)
    status = read_number(server)
    if status >= 2**31:  # ended by a signal
        number = 2**32 - status
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(status)


def read_number(server):
    """The next number that the server sends."""
    content = b""
    while len(content) < LENGTH.size:
        received = server.recv(LENGTH.size - len(content))
        if not received:
            sys.exit("the server of preloaded processes has ended")
        content += received
    return LENGTH.unpack(content)[0]


def main(folder, arguments):
    """Run the command line of a Python interpreter."""
    rest = list(arguments)
    while rest and rest[0] in ("-u", "-P"):
        del rest[0]
    if len(rest) > 1 and rest[0] == "-m" and rest[1].startswith(MODULES):
        run(folder, rest[1], rest[2:])
    os.execv(sys.executable, [sys.executable, *arguments])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
