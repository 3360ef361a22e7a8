"""CPU seconds of each runtime for one image, as ratios to PyTorch.

    python benchmarks/runtimes.py [--only unet ...] [--rounds 10] [--int8] [--work FOLDER]
    python benchmarks/runtimes.py --int8 --max-loss 0.005 [...]

Six networks, see exported_networks.py. The runtimes take turns on one image of 480 x 360 px with
one thread; post-processing, which is the same for all, is left out. A cell is the median over the
rounds of "CPU seconds of PyTorch / CPU seconds of the runtime", so 2.0 is twice as fast, and its
quartiles. `torch.compile` is no runtime of maskmill; it is there for comparison. The last column is
the score (mIoU or PQ, in %) of the validation scenes in fp32 and in INT8.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from exported_networks import NETWORKS, exported_model, prepared_scenes, quiet

from maskmill.assembly.network_loading import load_network
from maskmill.assembly.runtimes import FILES, open_network
from maskmill.canonical.folder import PanopticFolder
from maskmill.postprocess.torch_network import TorchNetwork
from maskmill.postprocess.whole_image import stack
from maskmill.serving.model_files import read_model

SIZE = (480, 360)  # width and height in px
REFERENCE = "torch"
COMPILED = "torch.compile"
RUNTIMES = (
    *(REFERENCE, "torch_bf16", COMPILED, "program", "onnx"),
    *("openvino", "openvino_bf16", "openvino_int8"),
)


def networks_of(folder):
    """Runtime -> a network that is ready."""
    files = read_model(folder)
    ready = {COMPILED: TorchNetwork(torch.compile(load_network(files)), device="cpu")}
    for name in RUNTIMES:
        if name != COMPILED and (folder / FILES[name]).is_file():
            network = load_network(files) if name.startswith("torch") else None
            ready[name] = open_network(folder, name, "cpu", network)
    return ready


def measure(folder, image, rounds):
    """Runtime -> CPU seconds of each round; the first prediction of each does not count."""
    networks = networks_of(folder)
    batch = stack([image])
    seconds = {name: [] for name in networks}
    for index in range(rounds + 1):
        for name, network in networks.items():
            start = time.process_time()
            network(batch)
            if index > 0:
                seconds[name].append(time.process_time() - start)
    return {name: np.array(values) for name, values in seconds.items()}


def cell(seconds, reference):
    if seconds is None:
        return "-"
    low, middle, high = np.percentile(reference / seconds, [25, 50, 75])
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


def int8_scores(folder):
    """The score before and after quantisation, in %, from the export's own record."""
    record = json.loads((folder / "export.json").read_text())["runtimes"].get("openvino_int8", {})
    names = [name for name in record if f"{name}_before" in record]
    scores = (f"{name} {record[f'{name}_before']:.2%} -> {record[name]:.2%}" for name in names)
    return ", ".join(scores) or "-"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--int8", action="store_true", help="quantise too, which takes minutes")
    parser.add_argument("--max-loss", type=float, default=1.0, help="which INT8 may lose, of 1")
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    quiet(threads=1)
    cv2.setNumThreads(1)
    others = [name for name in RUNTIMES if name != REFERENCE]
    print("| network | torch, CPU s | " + " | ".join(others) + " | INT8's score |")
    print("|---|---|" + "---|" * len(others) + "---|", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        split = PanopticFolder(prepared_scenes(work) / "test")
        image = cv2.resize(split.image(split.records[0]), SIZE)
        for name in options.only:
            folder = exported_model(
                name, work, steps=options.steps, int8=options.int8, max_loss=options.max_loss
            )
            seconds = measure(folder, image, options.rounds)
            reference = seconds[REFERENCE]
            cells = [cell(seconds.get(other), reference) for other in others]
            cells.append(int8_scores(folder))
            print(f"| {name} | {np.median(reference):.3f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
