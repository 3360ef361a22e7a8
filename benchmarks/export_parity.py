"""Whether exported networks predict what the networks predict, after post-processing.

    python benchmarks/export_parity.py [--only unet ...] [--steps 150] [--work FOLDER]

Six networks, trained for some steps on the embedded scenes, in each of their tasks, as a program,
in ONNX Runtime and in OpenVINO. Each cell compares 20 images of 20 odd sizes, and at each size
batches of 1, 3 and 7 images: the share of pixels with the same category and segment, and how many
of all segments are equal to the pixel. Images are enlarged scenes of the test split, cropped.
--work keeps the trained and exported networks for the next call.
"""

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np
from exported_networks import NETWORKS, configuration, exported_model, prepared_scenes, quiet
from omegaconf import OmegaConf

from maskmill.assembly.network_loading import load_network
from maskmill.assembly.runtimes import open_network
from maskmill.canonical.folder import PanopticFolder
from maskmill.postprocess.whole_image import stack
from maskmill.serving.agreement import compare
from maskmill.serving.model_files import make_postprocess, read_model

RUNTIMES = ("program", "onnx", "openvino")
NUM_SIZES = 20
BATCHES = (1, 3, 7)
# Few steps leave queries less certain than the thresholds of conf/task expect.
CONFIDENCE = {"threshold": 0.3, "overlap": 0.5}
TASKS = {
    **dict.fromkeys(["unet", "deeplabv3plus", "segformer"], ["semantic"]),
    "panoptic_deeplab": ["semantic", "instance", "panoptic"],
    **dict.fromkeys(
        ["mask2former", "eomt"], ["semantic_masks", "instance_masks", "panoptic_masks"]
    ),
}


def batches_of(split):
    """For each odd size, one batch of each length."""
    rng = np.random.default_rng(0)
    images = [split.image(record) for record in split.records]
    for index in range(NUM_SIZES):
        height, width = (2 * rng.integers(16, [44, 64]) + 1).tolist()  # 33 to 87, 33 to 127
        resized = []
        for offset in range(max(BATCHES)):
            image = images[(index * 3 + offset) % len(images)]
            scale = max(1.0, height / image.shape[0], width / image.shape[1])
            size = [int(np.ceil(side * scale)) for side in image.shape[1::-1]]
            resized.append(cv2.resize(image, size)[:height, :width])
        for batch in BATCHES:
            yield resized[:batch]


def outputs_of(network, batches):
    return [network(stack(batch)) for batch in batches]


def cell(agreements):
    pixels = sum(row.pixels for row in agreements)
    equal = sum(row.equal_pixels for row in agreements)
    segments = sum(row.segments for row in agreements)
    equal_segments = sum(row.equal_segments for row in agreements)
    difference = max(row.score_difference for row in agreements)
    return f"{100 * equal / pixels:.4f} %, {equal_segments} of {segments}, {difference:.0e}"


def measure(name, work, steps):
    """Print the rows of one network."""
    folder = exported_model(name, work, steps=steps, int8=False)
    files = read_model(folder)
    reference = open_network(folder, "torch", "cpu", load_network(files))
    batches = list(batches_of(PanopticFolder(prepared_scenes(work) / "test")))
    expected = outputs_of(reference, batches)
    outputs = {}
    for runtime in RUNTIMES:
        outputs[runtime] = outputs_of(open_network(folder, runtime, "cpu", None), batches)
    for task in TASKS[name]:
        node = OmegaConf.to_container(configuration(f"task={task}").task.postprocess, resolve=True)
        if "PanopticMasks" in node["_target_"]:
            node |= CONFIDENCE
        postprocess = make_postprocess(node, files.categories, f"task={task}")
        cells = []
        for runtime in RUNTIMES:
            rows = []
            for batch, first, second in zip(batches, expected, outputs[runtime], strict=True):
                rows.append(compare(lambda _: first, lambda _: second, postprocess, batch))
            cells.append(cell(rows))
        print(f"| {name} | {task.removesuffix('_masks')} | {' | '.join(cells)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    quiet(options.threads)
    print("| network | task | program | ONNX Runtime | OpenVINO |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        for name in options.only:
            measure(name, options.work or Path(temporary), options.steps)


if __name__ == "__main__":
    main()
