import subprocess
import sys

import pytest

PROGRAM = """
import resource
import numpy as np
from maskmill.canonical.freed_memory import keep_all_freed_memory
{first}
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(100_000_000, np.uint8)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is of the GNU C library")
@pytest.mark.parametrize(
    ("first", "is_kept"),
    [
        pytest.param("", False, id="otherwise the second array takes its pages again"),
        pytest.param("assert keep_all_freed_memory()", True, id="kept"),
    ],
)
def test_a_second_large_array_takes_no_pages_of_the_system(first, is_kept):
    program = PROGRAM.format(first=first)
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    faults_of_first, faults_of_second = map(int, result.stdout.split())
    assert faults_of_first > 100  # pages of 4 KB or 2 MB
    assert (faults_of_second < faults_of_first / 10) == is_kept
