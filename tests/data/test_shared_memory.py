import pytest

from maskmill.data.shared_memory import fitting_workers

BATCH = 8 * 96 * 160 * 8  # bytes: 8 images of 96 x 160 px with their labels


@pytest.mark.parametrize(
    ("free_bytes", "num_processes", "expected"),
    [
        (64_000, 1, 0),  # /dev/shm of 64 kB: not a single batch
        (2 * 2 * BATCH, 1, 2),  # two batches for each of two workers
        (2 * 2 * BATCH - 1, 1, 1),
        (2 * 2 * BATCH, 2, 1),  # two training processes share it
        (10**9, 1, 2),
    ],
)
def test_only_workers_whose_batches_fit_into_shared_memory_are_started(
    caplog, free_bytes, num_processes, expected
):
    num_workers = fitting_workers(2, BATCH, num_processes=num_processes, free_bytes=free_bytes)
    assert num_workers == expected
    if expected == 2:
        assert caplog.messages == []
    else:
        (message,) = caplog.messages
        assert message.startswith("/dev/shm: expected")
        assert f"docker run --shm-size=2g) or set data.num_workers={expected}" in message
