"""Used and free memory of the CPU or of a GPU."""

import gc
import resource
import sys
from pathlib import Path

import psutil
import torch

# Limit and usage of a container: control groups of version 2 and 1. psutil sees the whole machine.
_GROUPS = {
    Path("/sys/fs/cgroup/memory.max"): Path("/sys/fs/cgroup/memory.current"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"): Path(
        "/sys/fs/cgroup/memory/memory.usage_in_bytes"
    ),
}


class Memory:
    """Bytes of one device, as seen by this process; on the CPU, of the machine or this container.

    Args:
        device: the device that trains.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @property
    def is_safe(self) -> bool:
        """Does too large an allocation only raise? A GPU refuses; a machine kills processes."""
        return self.device.type != "cpu"

    def used(self) -> int:
        """Bytes that this process uses now."""
        if self.device.type == "cuda":
            return torch.cuda.memory_allocated(self.device)
        return int(psutil.Process().memory_info().rss)

    def peak(self) -> int:
        """The most bytes that this process has ever used; on a GPU, since `restart`."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

    def free(self) -> int:
        """Bytes that are still available."""
        if self.device.type == "cuda":
            return int(torch.cuda.mem_get_info(self.device)[0])
        available = int(psutil.virtual_memory().available)
        for limit, usage in _GROUPS.items():
            available = min(available, left_in_group(limit, usage))
        return available

    def wait(self) -> None:
        """Wait until the device has finished its work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def restart(self) -> None:
        """Release unused memory, and reset the peak where that is possible."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)


def left_in_group(limit: Path, usage: Path) -> int:
    """Bytes left in a control group; `sys.maxsize` if there is none or it has no limit.

    Cached files count as free, since the kernel gives their memory back when it is needed.
    """
    if not limit.is_file() or not limit.read_text().strip().isdigit():  # "max"
        return sys.maxsize
    statistics: dict[str, str] = {}
    for line in usage.with_name("memory.stat").read_text().splitlines():
        key, value = line.split()
        statistics[key] = value
    # Version 1 also has the totals of the group and the groups below it.
    prefix = "total_" if "total_inactive_file" in statistics else ""
    num_inactive = int(statistics[f"{prefix}inactive_file"])
    num_active = int(statistics[f"{prefix}active_file"])
    num_used = int(usage.read_text()) - num_inactive - num_active
    return max(0, int(limit.read_text()) - num_used)
