"""A training as a program of its own, from a saved configuration.

Lightning starts the other ranks by running the same command line again; within a sweep, each of
them would start the sweep again. And a job of a sweep that crashes must not end the others: each
runs in a process forked from one that has imported the libraries, which takes ten seconds.
"""

import ctypes
import importlib
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from types import FrameType

log = logging.getLogger(__name__)

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

EXIT_SIGTERM = 128 + signal.SIGTERM  # exit status of a program that received SIGTERM


def is_launched() -> bool:
    """Is this process already a rank, started by torchrun or SLURM?"""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return True
    num_tasks = int(os.environ.get("SLURM_NTASKS", "1"))
    return "SLURM_PROCID" in os.environ and num_tasks > 1


def run_worker(module: str, argument: Path) -> None:
    """Run `python -m module argument` as a child process and wait for it.

    SIGTERM is passed on to the child, and the child ends when this process does.

    Raises:
        InterruptedError: the child received SIGTERM and stopped.
        ValueError: the child ended with another status than 0; it has printed its own message.
    """
    environment = dict(os.environ)
    for name in _RANK_VARIABLES:
        environment.pop(name, None)
    process = subprocess.Popen([sys.executable, "-m", module, str(argument)], env=environment)
    _wait(module, process.wait, process.terminate)


def import_ahead(module: str) -> None:
    """Start to import a module in a process of its own, for `run_forked`."""
    multiprocessing.get_context("forkserver").set_forkserver_preload([module])
    ensure_running()


def run_forked(module: str, argument: Path) -> None:
    """Do what `run_worker` does, in a process forked from one that has imported the module.

    Raises:
        InterruptedError: the child received SIGTERM and stopped.
        ValueError: the child ended with another status than 0; it has printed its own message.
    """
    import_ahead(module)
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=_run_module, args=(module, argument, dict(os.environ)))
    process.start()

    def wait() -> int:
        process.join()
        assert process.exitcode is not None
        return process.exitcode

    _wait(module, wait, process.terminate)


def _run_module(module: str, argument: Path, environment: dict[str, str]) -> None:
    threading.Thread(target=_die_with_starter, daemon=True).start()
    os.environ.clear()  # that of the time when the module was imported
    os.environ.update(environment)
    sys.argv = [module, str(argument)]
    importlib.import_module(module).main()


def _die_with_starter() -> None:
    """Wait until the process that started this one ends; the kernel knows only its fork server."""
    starter = multiprocessing.parent_process()
    assert starter is not None
    starter.join()
    os.kill(os.getpid(), signal.SIGKILL)


def _wait(module: str, wait: Callable[[], int], terminate: Callable[[], None]) -> None:
    try:
        with _passing_on_sigterm(terminate) as received:
            status = wait()
    except BaseException:
        terminate()
        wait()
        raise
    # A child that has just finished, or whose Trainer handles the signal itself, ends with 0.
    if received or status in (EXIT_SIGTERM, -signal.SIGTERM):
        raise InterruptedError(
            "the training received SIGTERM - the same command resumes from its last checkpoint"
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
