"""The memory of `check`, `prepare` and `evaluate` hardly grows with the number of images."""

import subprocess
import sys
from pathlib import Path

import pytest

from commands import command_environment, preloaded_python

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks" / "campaign"))
import many_images

TESTS = Path(__file__).parent
FEW, MANY = 128, 256  # images: two and four batches of `prepare`


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Folders with so many images."""
    root = tmp_path_factory.mktemp("many")
    for num_images in (FEW, MANY):
        many_images.draw(root / f"{num_images}", num_images, 32)
    return [root / f"{num_images}" for num_images in (FEW, MANY)]


def growth(run, drawn):
    command = [preloaded_python(), "-m", "many_images_growth", run, *drawn]
    environment = command_environment(PYTHONPATH=f"{TESTS}:{TESTS.parent / 'src'}")
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, timeout=300, check=True
    )
    return float(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "max_bytes"), [("checked", 900), ("prepared", 1050), ("evaluated", 750)]
)
def test_an_image_with_three_segments_adds_a_kilobyte(drawn, run, max_bytes):
    assert 100 < growth(run, drawn) < max_bytes
