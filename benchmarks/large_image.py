"""Peak memory and time of one large image in windows: `python benchmarks/large_image.py`.

Compares `inference=sliding_window` and `inference=stitched_windows`. A tiny fully convolutional
network replaces the real one, whose own memory depends on the window only. Each run is a separate
process. The table shows by how much the peak of its resident memory exceeds the memory before the
image was made, in total and per pixel of the image.
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
from maskmill.postprocess.torch_network import TorchNetwork
from maskmill.postprocess.whole_image import WholeImage

NUM_CLASSES = 19
CELL_PX = 250
WINDOW = (512, 512)
CATEGORIES = Categories(
    [Category(key, f"class {key}", key > 10, (0, 0, key)) for key in range(NUM_CLASSES)]
)
INFERENCES = {
    "whole": WholeImage,
    "sliding_window": lambda: SlidingWindow(WINDOW),
    "stitched_windows": lambda: StitchedWindows(WINDOW),
}
POSTPROCESSES = {
    "semantic": lambda: SemanticSegments(categories=CATEGORIES),
    "panoptic": lambda: PanopticGrouping(
        threshold=0.1,
        nms_kernel=7,
        top_k=2000,
        min_area_px=16,
        stuff_area_px=16,
        categories=CATEGORIES,
    ),
}


def paint_cells(side):
    """Cells of one class each, made without more memory than the image.

    Red is the class, and green and blue are the position in the cell.
    """
    image = np.empty((side, side, 3), np.uint8)
    x = np.arange(side)
    for y in range(side):
        image[y, :, 0] = (y // CELL_PX * 7 + x // CELL_PX * 3) % NUM_CLASSES
        image[y, :, 1] = y % CELL_PX
        image[y, :, 2] = x % CELL_PX
    return image


class Cells(torch.nn.Module):
    """Reads class, centre and offset of a cell from its colours, after an identity convolution."""

    def __init__(self):
        super().__init__()
        self.identity = torch.nn.Conv2d(3, 3, 3, padding=1, bias=False)
        torch.nn.init.dirac_(self.identity.weight)

    def forward(self, images):
        colours = self.identity(images.float())  # (B, 3, H, W)
        offset = CELL_PX // 2 - colours[:, 1:]  # (B, 2, H, W)
        squared_distance = offset.square().sum(dim=1, keepdim=True)  # (B, 1, H, W)
        classes = colours[:, :1].round().long()  # (B, 1, H, W)
        logits = torch.zeros(len(colours), NUM_CLASSES, *colours.shape[2:])
        return {
            "semantic": logits.scatter_(1, classes, 9.0),
            "center": torch.exp(-squared_distance / 50),
            "offset": offset,
        }


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(inference_name, task, side, queue):
    """Put the peak memory in MiB, the seconds and the number of segments into the queue."""
    torch.set_num_threads(1)
    network = Cells().eval()
    inference = INFERENCES[inference_name]()
    postprocess = POSTPROCESSES[task]()
    with torch.inference_mode():
        network(torch.zeros(1, 3, *WINDOW, dtype=torch.uint8))  # torch's own first allocations
        memory_before = peak_mib()
        start = time.perf_counter()
        (prediction,) = inference(TorchNetwork(network), postprocess, [paint_cells(side)], 1)
    seconds = time.perf_counter() - start
    queue.put((peak_mib() - memory_before, seconds, len(prediction.panoptic.segments)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--side", type=int, default=10_000, help="of the square image, in px")
    parser.add_argument(
        "--ways",
        nargs="+",
        default=["sliding_window", "stitched_windows"],
        choices=list(INFERENCES),
        help="`whole` needs an image that fits into memory",
    )
    parser.add_argument("--tasks", nargs="+", default=list(POSTPROCESSES))
    options = parser.parse_args()
    print(f"{options.side} x {options.side} px, {NUM_CLASSES} classes, one thread")
    context = multiprocessing.get_context("spawn")
    for task in options.tasks:
        for name in options.ways:
            queue = context.Queue()
            process = context.Process(target=measure, args=(name, task, options.side, queue))
            process.start()
            mib, seconds, num_segments = queue.get()
            process.join()
            per_pixel = mib * 2**20 / options.side**2
            print(
                f"{task:9} {name:17} peak {mib:7.0f} MiB = {per_pixel:5.1f} bytes/px  "
                f"{seconds:6.1f} s  {num_segments} segments"
            )


if __name__ == "__main__":
    main()
