"""On what a training ran: another machine or number of threads can give other weights."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from maskmill import __version__

ENVIRONMENT_TAG = "maskmill.environment"
THREADS = "threads"


def environment() -> dict[str, str]:
    """What beside code, data and configuration can change the bits of a result, by name."""
    found = {
        "processor": _processor(),
        THREADS: str(torch.get_num_threads()),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "maskmill": __version__,
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def differences(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What differs between two environments, in words."""
    changed = []
    for name in sorted(then.keys() | now.keys()):
        before = then.get(name, "none")
        after = now.get(name, "none")
        if before != after:
            changed.append(f"{name} {before} then, {after} now")
    return changed


def _processor() -> str:
    """The model of the processor; Linux alone has its full name in a file."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or os.uname().machine
