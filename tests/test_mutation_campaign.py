"""The quick part of benchmarks/campaign/mutation.py: a few damaged inputs for every reader."""

import random
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks" / "campaign"))

from mutation import FAULTS, SECONDS, outcome_of
from mutations import mutated
from readers import READERS

NUM_INPUTS = 40


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow's words on damaged TIFF files
@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_read_reported_or_refused(name, tmp_path):
    reader = READERS[name]
    root = tmp_path / "data"
    root.mkdir()
    reader.draw(root)
    files = reader.files(root)
    faults = []
    for index in range(NUM_INPUTS):
        rng = random.Random(f"quick {name} {index}")
        path = root / rng.choice(files)
        content = path.read_bytes()
        path.write_bytes(mutated(content, path.suffix, rng))
        start = time.process_time()
        outcome = outcome_of(reader, root, path)
        path.write_bytes(content)
        if outcome["kind"] in FAULTS or time.process_time() - start > SECONDS:
            faults.append((index, outcome))
    assert faults == []
