import importlib
import sys
import threading

from maskmill.assembly import code_digests

FORKED = "maskmill.stages.train_forked"


def test_what_is_loaded_ahead_of_a_sweep_starts_no_thread_that_a_fork_would_lose():
    before = set(threading.enumerate())
    sys.modules.pop(FORKED, None)

    importlib.import_module(FORKED)

    assert set(threading.enumerate()) <= before


def test_a_fork_reads_no_source_of_the_training_again():
    importlib.import_module(FORKED)
    read = code_digests._read.cache_info().misses

    code_digests.code_digests(code_digests.stage_modules("train", []))

    assert code_digests._read.cache_info().misses == read
