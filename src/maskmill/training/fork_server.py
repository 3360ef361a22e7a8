"""Forks processes from one that has imported modules: `python -m ...fork_server MODULE ...`.

multiprocessing's fork server serves only the process that has started it. Most launchers run the
jobs of a sweep in processes of their own, and all of them use the server of the sweep.

Standard input is a listening socket. The first connection is that of the owner: when it closes,
however the owner ends, the server ends with all that it has forked. On every other connection the
server says that it is ready, and a client (`fork_client`) sends one message with three open files:
its request, its standard output and its standard error. Then a process is forked that runs `main`
of the module that the request names. A further byte is the number of a signal for the process,
which is killed if the client ends. Its exit status, as text, is the answer.
"""

import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.context import ForkProcess
from pathlib import Path

from maskmill.training.fork_client import READY

NUM_FILES = 3
# Ctrl+C and `kill -- -GROUP` reach the server too, which must outlive the trainings that they end.
OF_CLIENTS = {signal.SIGINT, signal.SIGTERM}


class ForkServer:
    """Forks a process for each client.

    Args:
        listener: to which the owner has connected already.
        mains: module -> what a process runs that is forked for it.
    """

    def __init__(self, listener: socket.socket, mains: Mapping[str, Callable[[], None]]) -> None:
        self._mains = mains
        self._owner, _ = listener.accept()
        self._listener = listener
        self._child_ended = _readable_when_a_child_ends()
        self._clients = dict[socket.socket, ForkProcess | None]()  # None: it has not asked yet
        self._selector = selectors.DefaultSelector()
        for source in (self._owner, self._listener, self._child_ended):
            self._selector.register(source, selectors.EVENT_READ)

    def serve(self) -> None:
        """Serve until the owner ends, and kill what still runs then."""
        while True:
            for key, _ in self._selector.select():
                source = key.fileobj
                assert isinstance(source, socket.socket)
                if source is self._owner:
                    for process in filter(None, self._clients.values()):
                        process.kill()
                    return
                self._handle(source)

    def _handle(self, source: socket.socket) -> None:
        if source is self._listener:
            client, _ = self._listener.accept()
            with suppress(ConnectionError):  # it only asked whether there is a server
                client.sendall(READY)
            self._clients[client] = None
            self._selector.register(client, selectors.EVENT_READ)
        elif source is self._child_ended:
            source.recv(64)
            self._answer()
        elif source in self._clients:  # no longer, if it was answered just now
            process = self._clients[source]
            if process is None:
                self._fork(source)
            else:
                self._pass_on(source, process)

    def _fork(self, client: socket.socket) -> None:
        files = list[int]()
        try:
            _, files, _, _ = socket.recv_fds(client, 1, NUM_FILES)
            if len(files) == NUM_FILES:
                process = ForkProcess(target=self._become, args=files)
                process.start()
                self._clients[client] = process
            else:  # the client ended before it asked
                self._forget(client)
        except OSError as error:  # no process or no memory is left; others may run on
            sys.stderr.write(f"cannot fork a process: {error}\n")
            self._forget(client)
        for file in files:
            os.close(file)

    def _become(self, request: int, output: int, errors: int) -> None:
        """Run in the forked process."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for connection in (self._owner, self._listener, self._child_ended, *self._clients):
            connection.close()
        self._selector.close()
        for number, file in ((1, output), (2, errors)):
            os.dup2(file, number)
            os.close(file)
        with os.fdopen(request) as file:
            asked = json.load(file)
        os.environ.clear()
        os.environ.update(asked["environment"])
        os.chdir(asked["folder"])
        sys.argv = asked["arguments"]
        signal.pthread_sigmask(signal.SIG_UNBLOCK, OF_CLIENTS)
        self._mains[sys.argv[0]]()

    def _pass_on(self, client: socket.socket, process: ForkProcess) -> None:
        with suppress(ConnectionError):
            if received := client.recv(1):
                if process.pid is not None and process.exitcode is None:
                    os.kill(process.pid, received[0])
                return
        process.kill()  # the client has ended
        self._forget(client)

    def _answer(self) -> None:
        for client, process in list(self._clients.items()):
            if process is not None and process.exitcode is not None:
                with suppress(ConnectionError):  # the client has ended too
                    client.sendall(str(process.exitcode).encode())
                self._forget(client)

    def _forget(self, client: socket.socket) -> None:
        del self._clients[client]
        self._selector.unregister(client)
        client.close()


def _readable_when_a_child_ends() -> socket.socket:
    readable, written = socket.socketpair()
    for end in (readable, written):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(written.detach(), warn_on_full_buffer=False)
    return readable


def main() -> None:
    """Import the modules and serve."""
    signal.pthread_sigmask(signal.SIG_BLOCK, OF_CLIENTS)
    listener = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    address = Path(listener.getsockname())
    try:
        mains = {name: importlib.import_module(name).main for name in sys.argv[1:]}
        gc.freeze()  # no fork looks for garbage among the imported objects, or copies their pages
        ForkServer(listener, mains).serve()
    finally:
        address.unlink(missing_ok=True)
        address.parent.rmdir()


if __name__ == "__main__":
    main()
