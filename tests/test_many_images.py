"""The memory of `evaluate`, `check` and `prepare` hardly grows with the number of images."""

import sys
import tracemalloc
from pathlib import Path

import pytest

from maskmill.evaluation.evaluation import evaluate_folders

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks" / "campaign"))
import many_images

FEW, MANY = 32, 160  # images: two and ten chunks of `evaluate`


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The folder with so many images, by their number."""
    root = tmp_path_factory.mktemp("many")
    for num_images in (FEW, MANY):
        many_images.draw(root / f"{num_images}", num_images, 32)
    return {num_images: root / f"{num_images}" for num_images in (FEW, MANY)}


def growth(run, drawn):
    """Bytes that an image adds to the largest size of all objects at one time."""
    peaks = {}
    for num_images, folder in drawn.items():
        run(folder)  # what is imported or cached on first use belongs to no image
        tracemalloc.start()
        try:
            result = run(folder)
            _, peaks[num_images] = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        del result
    return (peaks[MANY] - peaks[FEW]) / (MANY - FEW)


def test_an_evaluation_keeps_little_of_each_image(drawn):
    def run(folder):
        return evaluate_folders(folder / "target.json", folder / "pred.json")

    assert growth(run, drawn) < 4000
