"""Prints the bytes that an image adds to the memory of a command: `python -m many_images_growth`.

Its arguments are `checked`, `prepared` or `evaluated`, and two folders with few and many images
that benchmarks/campaign/many_images.py drew. It is a process of its own, since threads and log
records that other tests leave behind would count too.
"""

import gc
import sys
import tracemalloc
from pathlib import Path

from maskmill.evaluation.analysis import analyse
from maskmill.evaluation.bootstrap import Resampling
from maskmill.evaluation.evaluation import evaluate_folders
from maskmill.sources.coco_panoptic import CocoPanoptic, CocoPart
from maskmill.sources.convert import Converter


def growth(run, few, many):
    """Bytes that an image adds to the largest size of all objects at one time."""
    peaks = []
    run(few)  # what is imported or cached on first use belongs to no image
    for folder in (few, many):
        gc.collect()
        tracemalloc.start()
        result = run(folder)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        del result
    return (peaks[1] - peaks[0]) / (num_images(many) - num_images(few))


def num_images(folder):
    return len(list((folder / "images").iterdir()))


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


if __name__ == "__main__":
    run = {"checked": checked, "prepared": prepared, "evaluated": evaluated}[sys.argv[1]]
    print(growth(run, Path(sys.argv[2]), Path(sys.argv[3])))
