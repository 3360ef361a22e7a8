"""The runtimes of a model folder, and which of them predicts."""

from importlib.util import find_spec
from pathlib import Path
from typing import cast, get_args

import torch
from torch import Tensor, nn

from maskmill.assembly.settings import Runtime
from maskmill.canonical.files import read_json
from maskmill.postprocess.prediction import Inference, Network
from maskmill.postprocess.torch_network import TensorNetwork, Tensors, TorchNetwork
from maskmill.serving import onnx_network, openvino_network
from maskmill.serving.model_files import PROGRAM, WEIGHTS, ModelFiles
from maskmill.serving.onnx_network import OnnxNetwork
from maskmill.serving.openvino_network import OpenVinoNetwork, Precision

RECORD = "export.json"  # of `maskmill export`, beside the exports
# What a runtime needs in the folder, in the order in which `auto` takes them where no record says
# which is fastest: the trained network first, so that nothing but an export changes a prediction.
FILES = {
    "torch": WEIGHTS,
    "onnx": onnx_network.GRAPH,
    "program": PROGRAM,
    "openvino": openvino_network.GRAPH,
    "torch_bf16": WEIGHTS,
    "openvino_bf16": openvino_network.GRAPH,
    "openvino_int8": openvino_network.INT8_GRAPH,
}
PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino"}
WITH_LOGITS = ("torch", "program")


def choose_runtime(files: ModelFiles, device: str, inference: Inference) -> Runtime:
    """The fastest runtime whose predictions agree with those of the network.

    `maskmill export` has compared and timed the runtimes of a folder. Without its record, it is
    torch where the folder has weights, else ONNX, else the program. Outside of the CPU it is torch
    or the program, and so it is for an inference that averages logits where the graphs give none.

    Args:
        files: the model.
        device: cpu, cuda or cuda:N.
        inference: how images go through the network.

    Raises:
        FileNotFoundError: the folder has none.
    """
    folder = files.folder
    is_any = device == "cpu" and _graphs_suffice(files, inference)
    only = get_args(Runtime) if is_any else WITH_LOGITS
    present = [name for name in FILES if name in only and _is_usable(folder, name)]
    seconds = _recorded_seconds(folder)
    measured = [name for name in present if name in seconds]
    if measured:
        return cast(Runtime, min(measured, key=lambda name: seconds[name]))
    others = [name for name in FILES if _is_usable(folder, name)]
    if not present and others:
        raise FileNotFoundError(
            f"{folder}: expected weights or a program, which run on any device and give logits, "
            f"but found {', '.join(others)} alone - set inference=auto and predict.device=cpu"
        )
    if not present:
        raise FileNotFoundError(
            f"{folder}: expected a network, but found none that runs here - either export the "
            "model again or install 'maskmill[onnx]'"
        )
    return cast(Runtime, present[0])


def _graphs_suffice(files: ModelFiles, inference: Inference) -> bool:
    # A project's own class may say neither.
    if getattr(inference, "needs_torch", True):
        return False
    # The graphs of a version that was tested with a mean of logits give logits.
    return not inference.averages_logits or files.prediction.make_inference().averages_logits


def _is_usable(folder: Path, name: str) -> bool:
    package = PACKAGES.get(name)
    is_installed = package is None or find_spec(package) is not None
    return is_installed and (folder / FILES[name]).is_file()


def _recorded_seconds(folder: Path) -> dict[str, float]:
    """Seconds for an image, of the runtimes that agree."""
    path = folder / RECORD
    if not path.is_file():
        return {}
    seconds = {}
    for name, check in read_json(path)["runtimes"].items():
        if check["agrees"]:
            seconds[name] = float(check["seconds"])
    return seconds


def require_runtime(folder: Path, runtime: str) -> None:
    """Refuse a runtime whose file is not in the folder.

    Raises:
        FileNotFoundError: the file is missing; the message says which runtimes there are.
    """
    if not (folder / FILES[runtime]).is_file():
        present = [name for name in FILES if (folder / FILES[name]).is_file()]
        raise FileNotFoundError(
            f"{folder / FILES[runtime]}: expected the file of predict.runtime={runtime}, but there "
            f"is none - either run `maskmill export` or choose one of {', '.join(present)}"
        )


def open_network(
    folder: Path,
    runtime: str,
    device: str,
    network: nn.Module | None,
    *,
    temperature: float = 1.0,
) -> Network:
    """A network in a runtime; those on the CPU use as many threads as torch.

    Args:
        folder: of the model.
        runtime: a key of `FILES`.
        device: cpu, cuda or cuda:N.
        network: with its weights; for torch alone.
        temperature: of the calibration; graphs that give classes contain it.

    Raises:
        FileNotFoundError: the file of this runtime is missing.
        ValueError: the runtime's package is missing, refuses the file, or runs on the CPU only.
    """
    if runtime.startswith("torch"):
        assert network is not None
        forward = _in_bf16(network, device) if runtime == "torch_bf16" else network.to(device)
        return TorchNetwork(forward, device=device, temperature=temperature)
    if runtime == "program":
        from maskmill.serving.program import load_program  # torch.export: seconds to import

        program = load_program(folder, device=device)
        return TorchNetwork(program, device=device, temperature=temperature)
    if device != "cpu":
        raise ValueError(
            f"predict.runtime: expected torch or program for the device {device!r}, but got "
            f"{runtime!r}, which runs on the CPU - either change it or set predict.device=cpu"
        )
    path = folder / FILES[runtime]
    threads = torch.get_num_threads()
    if runtime == "onnx":
        return OnnxNetwork(path, threads=threads, temperature=temperature)
    precision: Precision = "f32" if runtime == "openvino" else "bf16"
    return OpenVinoNetwork(path, threads=threads, precision=precision, temperature=temperature)


def _in_bf16(network: nn.Module, device: str) -> TensorNetwork:
    """The network with bfloat16 kernels, channels last."""
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(images: Tensor) -> Tensors:
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(images.device.type, torch.bfloat16):
            outputs: Tensors = network(images)
        return outputs

    return forward
