import importlib
import sys

from maskmill.assembly import code_digests

FORKED = "maskmill.stages.train_forked"


def test_a_fork_reads_no_source_of_the_training_again():
    code_digests._read.cache_clear()
    sys.modules.pop(FORKED, None)
    importlib.import_module(FORKED)
    num_read = code_digests._read.cache_info().misses
    assert num_read > 0

    code_digests.code_digests(code_digests.stage_modules("train", []))

    assert code_digests._read.cache_info().misses == num_read
