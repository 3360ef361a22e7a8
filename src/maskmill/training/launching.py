"""A training on several processes is a program of its own, started from a written configuration.

Lightning starts the other ranks by running the same command line again; inside a sweep that would start the sweep again in each.
"""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)

# Left by an outer Lightning or test process, these would make the new one believe it is a rank of that; SLURM_NTASKS, that SLURM starts
# the ranks, where a job of one task with several GPUs has them started by Lightning.
_OTHERS = (
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

EXIT_SIGTERM = 128 + signal.SIGTERM  # the exit status of a program that was told to leave


def is_launched() -> bool:
    """Is this process already a rank, started by torchrun or SLURM?"""
    return "TORCHELASTIC_RUN_ID" in os.environ or (
        "SLURM_PROCID" in os.environ and int(os.environ.get("SLURM_NTASKS", "1")) > 1
    )


def run_worker(module: str, argument: Path) -> None:
    """Run `python -m module argument` as a process of its own, and die together; SIGTERM is handed on to it.

    Raises:
        InterruptedError: it was told to leave and did.
        ValueError: it ended with another status than 0; its own message stands above.
    """
    environment = {key: value for key, value in os.environ.items() if key not in _OTHERS}
    process = subprocess.Popen([sys.executable, "-m", module, str(argument)], env=environment)
    try:
        with _handing_on_sigterm(process):
            status = process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    if status in (EXIT_SIGTERM, -signal.SIGTERM):
        raise InterruptedError(
            "the training was told to leave - the same command goes on from its last checkpoint"
        )
    if status != 0:
        raise ValueError(
            f"Expected the processes of {module} to end well, but their status is {status} - what went wrong stands above"
        )


@contextmanager
def _handing_on_sigterm(process: subprocess.Popen[bytes]) -> Iterator[None]:
    if (
        threading.current_thread() is not threading.main_thread()
    ):  # only that one may handle signals
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, _: process.send_signal(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, so that a killed job leaves no rank behind (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
