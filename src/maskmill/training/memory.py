"""How much memory a training step takes and how much there is, on the CPU or on a GPU."""

import gc
import resource
import sys
from pathlib import Path

import psutil
import torch

# What a container may use and uses: control groups of version 2 and 1. psutil sees the whole machine.
_GROUPS = {
    Path("/sys/fs/cgroup/memory.max"): Path("/sys/fs/cgroup/memory.current"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"): Path(
        "/sys/fs/cgroup/memory/memory.usage_in_bytes"
    ),
}


class Memory:
    """Bytes of one device, as seen by this process; on the CPU those of the machine or of this container.

    Args:
        device: of the training.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @property
    def is_safe(self) -> bool:
        """Does asking for too much only raise? A GPU refuses; a machine kills whole processes instead."""
        return self.device.type != "cpu"

    def used(self) -> int:
        """What this process holds now."""
        return (
            torch.cuda.memory_allocated(self.device)
            if self.device.type == "cuda"
            else int(psutil.Process().memory_info().rss)
        )

    def peak(self) -> int:
        """The most this process ever held; on a GPU, since `restart`."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

    def free(self) -> int:
        """What could be had in addition."""
        if self.device.type == "cuda":
            return int(torch.cuda.mem_get_info(self.device)[0])
        return min(
            int(psutil.virtual_memory().available),
            *(left_in_group(limit, usage) for limit, usage in _GROUPS.items()),
        )

    def wait(self) -> None:
        """Wait for what the device has been told to do."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def restart(self) -> None:
        """Let go of what nobody uses, and forget the peak where that is possible."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)


def left_in_group(limit: Path, usage: Path) -> int:
    """What a control group has left; very much where there is none or it has no limit."""
    if not limit.is_file() or not limit.read_text().strip().isdigit():  # "max"
        return sys.maxsize
    statistics = dict(
        line.split() for line in usage.with_name("memory.stat").read_text().splitlines()
    )
    prefix = (
        "total_" if "total_inactive_file" in statistics else ""
    )  # version 1, with the groups below
    cached = sum(
        int(statistics[f"{prefix}{kind}_file"]) for kind in ("inactive", "active")
    )  # files read: given back when asked for
    return max(0, int(limit.read_text()) - int(usage.read_text()) + cached)
