import importlib
import subprocess
import sys

import pytest

from maskmill.assembly import code_digests

FORKED = "maskmill.stages.train_forked"


@pytest.mark.slow
def test_what_is_loaded_ahead_of_a_sweep_starts_no_thread_that_a_fork_would_lose():
    program = f"import threading, {FORKED}; print(threading.enumerate())"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.count("Thread(") == 1, done.stdout
    assert "_MainThread(" in done.stdout


def test_a_fork_reads_no_source_of_the_training_again():
    code_digests._read.cache_clear()
    sys.modules.pop(FORKED, None)
    importlib.import_module(FORKED)
    num_read = code_digests._read.cache_info().misses
    assert num_read > 0

    code_digests.code_digests(code_digests.stage_modules("train", []))

    assert code_digests._read.cache_info().misses == num_read
