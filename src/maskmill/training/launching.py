"""A training as a program of its own, from a saved configuration.

Lightning starts the other ranks by running the same command line again; within a sweep, each of
them would start the sweep again. And a job of a sweep that crashes must not end the others: each
runs in a process forked from one that has imported the libraries, which takes ten seconds.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from maskmill.training.fork_client import (
    ADDRESS_VARIABLE,
    address_variable,
    ask,
    connect,
    receive_status,
    send_signal,
)

# If set by an outer Lightning or test process, these would make the new process one of its ranks.
# SLURM_NTASKS would mean that SLURM starts the ranks; in a job of one task with several GPUs,
# Lightning starts them.
_RANK_VARIABLES = (
    "LOCAL_RANK",
    "NODE_RANK",
    "GROUP_RANK",
    "RANK",
    "WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "PL_GLOBAL_SEED",
    "SLURM_NTASKS",
)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_SERVER = "maskmill.training.fork_server"
_OWNED = list[tuple[socket.socket, subprocess.Popen[bytes]]]()  # open until this process ends

EXIT_SIGTERM = 128 + signal.SIGTERM  # exit status of a program that received SIGTERM
EXIT_SIGINT = 128 + signal.SIGINT  # of one that Ctrl+C ended
INTERRUPTED = (
    "training was interrupted; the same command resumes it, from its last checkpoint if there is "
    "one"
)


def is_launched() -> bool:
    """Is this process already a rank, started by torchrun or SLURM?"""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return True
    num_tasks = int(os.environ.get("SLURM_NTASKS", "1"))
    return "SLURM_PROCID" in os.environ and num_tasks > 1


def is_first() -> bool:
    """Does this process speak for all: rank 0 of torchrun or SLURM, or the only one?"""
    rank = os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))
    return not is_launched() or rank == "0"


def run_worker(module: str, argument: Path) -> None:
    """Run `python -m module argument` as a child process and wait for it.

    SIGTERM is passed on to the child, and the child ends when this process does.

    Raises:
        InterruptedError: the child received SIGTERM and stopped.
        KeyboardInterrupt: Ctrl+C ended the child or the wait for it.
        ValueError: the child ended with another status than 0; it has printed its own message.
    """
    environment = dict(os.environ)
    for name in _RANK_VARIABLES:
        environment.pop(name, None)
    process = subprocess.Popen([sys.executable, "-m", module, str(argument)], env=environment)
    _wait(module, process.wait, process.terminate)


def import_ahead(*modules: str) -> None:
    """Start a process that imports modules, for `run_forked` of this process and its children.

    It ends when this process does.
    """
    connection = connect()
    if connection is not None:
        connection.close()
        return
    folder = tempfile.mkdtemp(prefix="maskmill-")  # only this user can enter it
    address = f"{folder}/socket"
    owner = socket.socket(socket.AF_UNIX)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        owner.connect(address)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-P", "-m", _SERVER, *modules]
        server = subprocess.Popen(command, stdin=listener.fileno(), env=environment)
    _OWNED.append((owner, server))
    os.register_at_fork(after_in_child=owner.close)
    os.environ[ADDRESS_VARIABLE] = address_variable(address)


def run_forked(module: str, argument: Path) -> None:
    """Do what `run_worker` does, in a process forked from one that has imported the module.

    Raises:
        InterruptedError: the child received SIGTERM and stopped.
        KeyboardInterrupt: Ctrl+C ended the child or the wait for it.
        ValueError: the child ended with another status than 0; it has printed its own message.
    """
    import_ahead(module)
    connection = connect()
    if connection is None:
        raise ValueError(f"Expected a process that imports {module}, but it has ended already")
    with connection:
        ask(connection, [module, str(argument)])
        _wait(
            module,
            lambda: receive_status(connection),
            lambda: send_signal(connection, signal.SIGTERM),
        )


def _wait(module: str, wait: Callable[[], int], terminate: Callable[[], None]) -> None:
    try:
        with _passing_on_sigterm(terminate) as received:
            status = wait()
    except BaseException as error:
        terminate()
        wait()
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(INTERRUPTED) from None
        raise
    if status in (EXIT_SIGINT, -signal.SIGINT):
        raise KeyboardInterrupt(INTERRUPTED)
    # A child that has just finished, or whose Trainer handles the signal itself, ends with 0.
    if received or status in (EXIT_SIGTERM, -signal.SIGTERM):
        raise InterruptedError(
            "the training received SIGTERM - the same command resumes it, from its last checkpoint "
            "if there is one"
        )
    if status != 0:
        raise ValueError(
            f"Expected the processes of {module} to end with status 0, but the status is {status} "
            "- see their own message above"
        )


@contextmanager
def _passing_on_sigterm(terminate: Callable[[], None]) -> Iterator[list[int]]:
    """Pass SIGTERM on to the child; the list that this yields gets the signals received."""
    received = list[int]()
    is_main_thread = threading.current_thread() is threading.main_thread()
    if not is_main_thread:  # Python sets signal handlers only in the main thread
        yield received
        return

    def pass_on(signum: int, _: FrameType | None) -> None:
        received.append(signum)
        terminate()

    previous = signal.signal(signal.SIGTERM, pass_on)
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, previous)


def die_with_parent() -> None:
    """Let the kernel kill this process when its parent ends, so that no rank remains (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
