"""Shared memory of loader processes: too little of it ends them with a bus error."""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

log = logging.getLogger(__name__)

SHARED_MEMORY = Path("/dev/shm")  # the folder of Linux itself # nosec B108
BATCHES_PER_WORKER = 2  # torch's default of `prefetch_factor`


def fitting_workers(
    num_workers: int, batch_bytes: int, *, num_processes: int = 1, free_bytes: int | None = None
) -> int:
    """The number of loader processes whose batches fit into shared memory, with a warning if fewer.

    Args:
        num_workers: the wanted number.
        batch_bytes: size of the tensors of a batch.
        num_processes: training processes on this machine, each with its own loaders.
        free_bytes: free shared memory; None: that of this machine, which is unlimited without
            /dev/shm.

    Returns:
        at most `num_workers`; 0 loads in the training process. The samples are the same.
    """
    if num_workers == 0 or (free_bytes is None and not SHARED_MEMORY.is_dir()):
        return num_workers
    free = shutil.disk_usage(SHARED_MEMORY).free if free_bytes is None else free_bytes
    worker_bytes = BATCHES_PER_WORKER * batch_bytes * num_processes
    fitting = min(num_workers, free // worker_bytes)
    if fitting < num_workers:
        log.warning(
            "%s: expected %.1f MB of shared memory for data.num_workers=%d, but %.1f MB are free - "
            "loading with %d processes, which gives the same samples more slowly; give the "
            "container more (docker run --shm-size=2g) or set data.num_workers=%d",
            SHARED_MEMORY,
            num_workers * worker_bytes / 1e6,
            num_workers,
            free / 1e6,
            fitting,
            fitting,
        )
    return fitting


def tensor_bytes(sample: Mapping[str, Any]) -> int:
    """Bytes of the tensors of a sample or batch."""
    total = 0
    for value in sample.values():
        if isinstance(value, Tensor):
            total += value.nbytes
    return total
