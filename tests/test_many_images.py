"""The memory of `check`, `prepare` and `evaluate` hardly grows with the number of images."""

import gc
import sys
import tracemalloc
from pathlib import Path

import pytest

from maskmill.evaluation.analysis import analyse
from maskmill.evaluation.bootstrap import Resampling
from maskmill.evaluation.evaluation import evaluate_folders
from maskmill.sources.coco_panoptic import CocoPanoptic, CocoPart
from maskmill.sources.convert import Converter

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks" / "campaign"))
import many_images

FEW, MANY = 128, 256  # images: two and four batches of `prepare`


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
    run(drawn[FEW])  # what is imported or cached on first use belongs to no image
    for num_images, folder in drawn.items():
        gc.collect()
        tracemalloc.start()
        try:
            result = run(folder)
            _, peaks[num_images] = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        del result
    return (peaks[MANY] - peaks[FEW]) / (MANY - FEW)


def source_of(folder):
    return CocoPanoptic(folder, [CocoPart("target.json", "images", {"train": 1.0}, "target")])


def checked(folder):
    return Converter(folder / "out", workers=1).check(source_of(folder))


def prepared(folder):
    return Converter(folder / "out", workers=1).convert(source_of(folder))


def evaluated(folder):
    # One size of the tasks for both numbers of images, as it is for more than 2,048.
    evaluation = evaluate_folders(folder / "target.json", folder / "pred.json", chunk=64)
    analysis = analyse(evaluation, Resampling(0), images=folder / "images")
    return analysis.scores, analysis.slices


@pytest.mark.slow
@pytest.mark.parametrize(("run", "max_bytes"), [(checked, 900), (prepared, 1050), (evaluated, 750)])
def test_an_image_with_three_segments_adds_a_kilobyte(drawn, run, max_bytes):
    def is_small():
        return growth(run, drawn) < max_bytes

    # Again if not: a table of Python's own, as that of interned names, may have grown meanwhile.
    assert is_small() or is_small()
