"""Loader processes obey the training alone, so that a job that SLURM ends can save its state."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from torch.utils.data import DataLoader

from maskmill.data.loader_processes import set_up_loader_process

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux names the sender")


@pytest.fixture
def loader():
    return DataLoader(range(8), num_workers=1, worker_init_fn=set_up_loader_process)


def is_alive(pid):
    """Whether a process runs; one that has ended and was not waited for does not."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_sigterm_of_another_process_ends_no_loader(loader):
    batches = iter(loader)
    assert next(batches) == 0
    (process,) = batches._workers
    subprocess.run(["kill", "-TERM", str(process.pid)], check=True)
    assert [int(batch) for batch in batches] == [1, 2, 3, 4, 5, 6, 7]


def test_sigterm_of_the_training_ends_its_loaders(loader):
    batches = iter(loader)
    assert next(batches) == 0
    (process,) = batches._workers
    process.terminate()
    deadline = time.monotonic() + 20
    while is_alive(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.join()
    assert process.exitcode == 0
