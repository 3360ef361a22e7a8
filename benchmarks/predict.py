"""Images per second of `maskmill predict`, relative to the network alone.

    python benchmarks/predict.py MODEL IMAGES [--images 48] [--rounds 7] [--workers 1 4]
        [--threads 1] [overrides of predict ...]

Both predict the same image files. Ours reads and decodes them, runs the network, post-processes,
encodes and writes PNGs and JSON, in a folder that replaces another; the bare network gets batches
that are in memory. They alternate in one process, and the median of the rounds' ratios counts:
other load on the machine hits both. The CPU ratio is what the additional work costs if nothing can
overlap, because every core is busy already; it includes all threads of the process.
"""

import argparse
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir

from maskmill.assembly.conf_search_path import packaged_conf
from maskmill.assembly.prediction_job import PredictionJob
from maskmill.postprocess.whole_image import stack
from maskmill.serving.image_folder import find_images
from maskmill.sources.finding import Findings


def now():
    """Seconds (2,): of the clock, and of this process's CPU time."""
    return np.array([time.perf_counter(), time.process_time()])


def seconds(function):
    start = now()
    function()
    return now() - start


def make_job(images, arguments, out, workers):
    overrides = [f"predict.model={arguments.model}", f"predict.out={out}"]
    overrides += [f"predict.workers={workers}", *arguments.overrides]
    with initialize_config_dir(str(packaged_conf()), version_base="1.3"):
        cfg = compose("config", overrides)
    return PredictionJob(cfg.predict, images)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--threads", type=int, help="of torch; by default as many as cores")
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_intermixed_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    found = find_images(arguments.folder)
    num = min(arguments.images, len(found.records))
    images = replace(found, records=found.records[:num], paths=found.paths[:num])
    parent = Path(tempfile.mkdtemp())
    jobs = {n: make_job(images, arguments, parent / f"w{n}", n) for n in arguments.workers}
    job = jobs[arguments.workers[0]]
    network = job.model.predictor.network
    pixels = [images.read(index, Findings())[0] for index in range(num)]
    batches = [stack([pixels[index] for index in batch]) for batch in job.batches]

    def bare():
        for batch in batches:
            network(batch)

    ratios = {workers: [] for workers in jobs}
    speeds = []
    for number in range(arguments.rounds + 1):
        for workers, ours in jobs.items():
            of_bare = seconds(bare)
            of_ours = seconds(ours.run)
            if number > 0:  # the first round warms up
                ratios[workers].append(of_bare / of_ours)
                speeds.append(num / of_bare[0])
    height, width = pixels[0].shape[:2]
    print(f"{num} images of {width}x{height}, {torch.get_num_threads()} torch threads")
    print(f"bare network: {np.median(speeds):.2f} images/s")
    for workers, values in ratios.items():
        wall, cpu = np.median(values, axis=0)
        low, high = np.percentile([value[0] for value in values], [25, 75])
        print(f"predict.workers={workers}: {wall:.2f} ({low:.2f} to {high:.2f}) of the images/s of")
        print(f"  the bare network by the clock, {cpu:.2f} by CPU time")
    shutil.rmtree(parent)


if __name__ == "__main__":
    main()
