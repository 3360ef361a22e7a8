"""The network as an ONNX graph, whose classes and confidences can be computed inside."""

import contextlib
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from maskmill.networks.padding import PER_QUERY, Outputs
from maskmill.postprocess.torch_network import reduce_logits
from maskmill.serving.onnx_network import GRAPH, INPUT, STRIDE_ENTRY, OnnxNetwork
from maskmill.serving.program import Body, exportable_padding, require_followed, trace

OPSET = 18
# Batches, rows and columns of strides, other than those of the example
OTHER_SHAPES = ((1, 2, 5), (3, 7, 2))
TOLERANCE = 1e-3  # of logits and offsets; kernels round differently, constant sizes differ by more

Export = Callable[[nn.Module, Tensor, Path], None]


class Reduced(nn.Module):
    """The body of a network whose class logits are reduced to classes and confidence.

    Args:
        network: `Exportable`.
        temperature: of the calibration, see `reduce_logits`.
        logits: they stay as they are.
    """

    def __init__(self, network: nn.Module, temperature: float = 1.0, *, logits: bool) -> None:
        super().__init__()
        self.temperature = temperature
        self.logits = logits
        self.body = Body(network)
        self.stride = int(network.stride)  # type: ignore[arg-type] # see Exportable

    def forward(self, images: Tensor) -> Outputs:
        """Images (B, 3, H, W) uint8, H and W multiples of the stride, to outputs."""
        outputs: Outputs = self.body(images)
        return outputs if self.logits else reduce_logits(outputs, self.temperature)


def export_onnx(
    network: nn.Module, folder: Path, *, temperature: float = 1.0, logits: bool = False
) -> Path:
    """Write the network as a graph for batches of any number of images and any image size.

    The older, tracing exporter takes one second where the newer one takes ten to thirty, and gives
    graphs of the same speed, but it stores sizes that Python code computes as constants. So its
    graph is compared with the network at other sizes; where they differ, the newer exporter runs.

    Args:
        network: `Exportable`, in evaluation mode, on the CPU.
        folder: the folder to write to.
        temperature: of the calibration, which becomes part of a graph that gives classes.
        logits: the graph gives class logits, which can be averaged; else classes and confidence,
            which take less time to compute and to move.

    Returns:
        the path of the graph.

    Raises:
        ValueError: neither exporter gives a graph that agrees with the network, or torch.export
            cannot follow it.
    """
    reduced = Reduced(network, temperature, logits=logits).eval()
    path = folder / GRAPH
    folder.mkdir(parents=True, exist_ok=True)
    differences = []
    for export in (_export_by_tracing, _export_program):
        if export is _export_program:
            require_followed(network)
        with torch.no_grad():
            export(reduced, _images(reduced, 2, 3, 4), path)
            _add_stride(path, reduced.stride)
            differences.append(_largest_difference(reduced, path))
        if differences[-1] <= TOLERANCE:
            return path
    path.unlink()
    raise ValueError(
        f"{path}: expected a graph that gives the network's outputs at other sizes within "
        f"{TOLERANCE}, but got differences of {', '.join(f'{value:.2g}' for value in differences)} "
        "- use the network in torch"
    )


def _export_by_tracing(network: nn.Module, example: Tensor, path: Path) -> None:
    names = list(network(example))
    axes = {INPUT: {0: "batch", 2: "height", 3: "width"}}
    for name in names:
        is_map = not name.endswith(PER_QUERY)
        last = 2 if name in {"classes", "confidence"} else 3
        axes[name] = {0: "batch"} | ({last - 1: f"h_{name}", last: f"w_{name}"} if is_map else {})
    with warnings.catch_warnings(), exportable_padding():
        warnings.simplefilter("ignore")  # about constants, which the comparison finds
        torch.onnx.export(
            network,
            (example,),
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=names,
            dynamic_axes=axes,
        )


def _export_program(network: nn.Module, example: Tensor, path: Path) -> None:
    program = trace(network, example, stride=cast(int, network.stride))
    names = list(network(example))
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        exported = torch.onnx.export(program, input_names=[INPUT], output_names=names, dynamo=True)
    exported.save(path, external_data=False)  # type: ignore[union-attr] # None without dynamo


def _add_stride(path: Path, stride: int) -> None:
    import onnx

    graph = onnx.load(path)
    onnx.helper.set_model_props(graph, {STRIDE_ENTRY: str(stride)})
    onnx.save(graph, path)


def _images(network: nn.Module, batch: int, rows: int, columns: int) -> Tensor:
    """Random images (B, 3, H, W) uint8 of some strides."""
    stride = cast(int, network.stride)
    generator = torch.Generator().manual_seed(0)
    size = (batch, 3, rows * stride, columns * stride)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)


def _largest_difference(network: nn.Module, path: Path) -> float:
    """Of any output but the classes, at sizes other than the example's; infinite if one fails."""
    graph = OnnxNetwork(path, threads=1)
    largest = 0.0
    for shape in OTHER_SHAPES:
        images = _images(network, *shape)
        expected = network(images)
        try:
            outputs = graph.maps(images.numpy())
        except Exception:  # noqa: BLE001 - a constant size inside; onnxruntime has no common base
            return float("inf")
        for name in expected.keys() - {"classes"}:
            difference = expected[name] - torch.from_numpy(outputs[name])
            largest = max(largest, float(difference.abs().max()))
    return largest
