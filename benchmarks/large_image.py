"""Peak memory and time of one large image through `inference=sliding_window` and `stitched_windows`: `python benchmarks/large_image.py`.

A tiny fully convolutional network stands for the real one, whose own memory depends on the window only. Each way runs in a process of its
own; the table gives the peak of its resident memory above what it held before the image was made, in all and per pixel of the image.
"""

import argparse
import multiprocessing
import resource
import time

import numpy as np
import torch

from maskmill.canonical.categories import Categories, Category
from maskmill.postprocess.panoptic import PanopticGrouping
from maskmill.postprocess.semantic import SemanticSegments
from maskmill.postprocess.sliding_window import SlidingWindow
from maskmill.postprocess.stitched_windows import StitchedWindows
from maskmill.postprocess.whole_image import WholeImage

NUM_CLASSES, CELL_PX = 19, 250
CATEGORIES = Categories(
    [Category(place, f"class {place}", place > 10, (0, 0, place)) for place in range(NUM_CLASSES)]
)


def painted(side):
    """Cells of one class each, with a bright middle, made without more memory than the image."""
    image = np.empty((side, side, 3), np.uint8)
    x = np.arange(side)
    for y in range(side):
        image[y, :, 0] = (y // CELL_PX * 7 + x // CELL_PX * 3) % NUM_CLASSES
        image[y, :, 1] = y % CELL_PX
        image[y, :, 2] = x % CELL_PX
    return image


class Cells(torch.nn.Module):
    """Class, centre and offset of each cell, read off the colours through a convolution that does nothing but cost."""

    def __init__(self):
        super().__init__()
        self.identity = torch.nn.Conv2d(3, 3, 3, padding=1, bias=False)
        torch.nn.init.dirac_(self.identity.weight)

    def forward(self, images):
        colours = self.identity(images.float())
        offset = CELL_PX // 2 - colours[:, 1:]
        near = offset.square().sum(dim=1, keepdim=True)
        logits = torch.zeros(len(colours), NUM_CLASSES, *colours.shape[2:]).scatter_(
            1, colours[:, :1].round().long(), 9.0
        )
        return {"semantic": logits, "center": torch.exp(-near / 50), "offset": offset}


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(way, task, side, queue):
    torch.set_num_threads(1)
    network, window = Cells().eval(), (512, 512)
    ways = {
        "whole": WholeImage,
        "sliding_window": lambda: SlidingWindow(window),
        "stitched_windows": lambda: StitchedWindows(window),
    }
    areas = {"min_area_px": 16, "stuff_area_px": 16}
    grouping = PanopticGrouping(
        threshold=0.1, nms_kernel=7, top_k=2000, **areas, categories=CATEGORIES
    )
    postprocess = grouping if task == "panoptic" else SemanticSegments(categories=CATEGORIES)
    with torch.inference_mode():
        network(torch.zeros(1, 3, *window, dtype=torch.uint8))  # what torch itself allocates once
        before, start = peak_mib(), time.perf_counter()
        (prediction,) = ways[way]()(network, postprocess, [painted(side)], 1)
    queue.put((peak_mib() - before, time.perf_counter() - start, len(prediction.panoptic.segments)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--side", type=int, default=10_000, help="of the square image, in px")
    parser.add_argument(
        "--ways",
        nargs="+",
        default=["sliding_window", "stitched_windows"],
        help="whole too, for images that fit",
    )
    parser.add_argument("--tasks", nargs="+", default=["semantic", "panoptic"])
    arguments = parser.parse_args()
    print(f"{arguments.side} x {arguments.side} px, {NUM_CLASSES} classes, one thread")
    for task in arguments.tasks:
        for way in arguments.ways:
            context = multiprocessing.get_context("spawn")
            queue = context.Queue()
            process = context.Process(target=measure, args=(way, task, arguments.side, queue))
            process.start()
            mib, seconds, num_segments = queue.get()
            process.join()
            per_pixel = mib * 2**20 / arguments.side**2
            print(
                f"{task:9} {way:17} peak {mib:7.0f} MiB = {per_pixel:5.1f} bytes/px  {seconds:6.1f} s  {num_segments} segments"
            )


if __name__ == "__main__":
    main()
