"""How long a model takes for an image."""

import statistics
import time
from collections.abc import Sequence

import cv2
import numpy as np

from maskmill.assembly.model_loading import load_model
from maskmill.canonical.png import RGB

NUM_WARM_UPS = 2


def measure_latency_ms(model: str, image: RGB, size: Sequence[int], num_runs: int) -> float:
    """The median time that a model takes for one image on the CPU, with post-processing.

    Args:
        model: a folder that `train` wrote, or the URI of a registered model.
        image: (H, W, 3) uint8 RGB.
        size: height and width to which the image is resized.
        num_runs: how often it is measured, after two runs that are not.
    """
    predictor = load_model(model, device="cpu").predictor
    height, width = size
    resized = cv2.resize(image, (width, height)).astype(np.uint8)
    times_ms = []
    for _ in range(NUM_WARM_UPS + num_runs):
        start = time.perf_counter()
        list(predictor([resized]))
        times_ms.append(1000 * (time.perf_counter() - start))
    return statistics.median(times_ms[NUM_WARM_UPS:])
