"""A network in OpenVINO: images in, outputs out, without torch."""

import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np

from maskmill.postprocess.prediction import Images, Outputs, Size
from maskmill.serving.onnx_network import STRIDE_ENTRY, GraphNetwork

GRAPH = "openvino.xml"
INT8_GRAPH = "openvino_int8.xml"
SECTION = "maskmill"  # of the graph's runtime information

ANY_SIZE = (-1, -1)
MAX_SIZES = 8  # compiled graphs in memory; one takes about a second

Precision = Literal["f32", "bf16"]


class OpenVinoNetwork(GraphNetwork):
    """Images to outputs by OpenVINO.

    Args:
        path: of the graph's XML file; its weights are beside it.
        threads: of the network; 0: OpenVINO's choice.
        precision: of the kernels that are not in 8 bits. OpenVINO's own choice is bf16 wherever
            the processor has it, which changes a few of a thousand pixels. Where it has none, f32
            is used, since bf16 would be emulated.
        temperature: of the calibration, see `GraphNetwork`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: openvino is not installed, or refuses the file.
    """

    def __init__(
        self,
        path: Path,
        *,
        threads: int = 0,
        precision: Precision = "f32",
        temperature: float = 1.0,
    ) -> None:
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: expected a network in OpenVINO's format, but there is none - "
                "run `maskmill export export.format=openvino`"
            )
        openvino = import_openvino()
        core = openvino.Core()
        if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            precision = "f32"
        settings: dict[str, str | int] = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
        }
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            graph = core.read_model(path)
            stride = int(graph.get_rt_info([SECTION, STRIDE_ENTRY]).astype(str))
            self._compile = lambda model: core.compile_model(model, "CPU", settings)
            self._graph = graph
            is_int8 = path.name == INT8_GRAPH
            self._has_sizes = is_int8 or (precision == "bf16" and _multiplies_matrices(graph))
            self._models: dict[Size, Any] = {}
            if not self._has_sizes:
                self._models[ANY_SIZE] = self._compile(graph)
        except RuntimeError as error:
            raise ValueError(
                f"{path}: expected a graph that OpenVINO {openvino.__version__} reads, but got: "
                f"{error} - export the model again"
            ) from error
        self.names = [output.any_name for output in graph.outputs]
        super().__init__(self.names, stride, temperature)

    def _run(self, images: Images) -> Outputs:
        if not self._has_sizes:
            outputs = self._models[ANY_SIZE]([images])
            return {name: outputs[name] for name in self.names}
        height, width = images.shape[-2:]
        model = self._model_for((height, width))
        rows = [model([image[None]]) for image in images]
        return {name: np.concatenate([row[name] for row in rows]) for name in self.names}

    def _model_for(self, size: Size) -> Any:
        """The graph, compiled for one image of a size.

        OpenVINO's kernels give wrong outputs for 8 bits and a height and width that are not known.
        Where all sizes are known, 8 bits are a sixth faster, and products of matrices in bf16 a
        quarter; convolutions alone gain nothing.
        """
        if size in self._models:
            self._models[size] = self._models.pop(size)  # the last to be dropped
        else:
            if len(self._models) == MAX_SIZES:
                self._models.pop(next(iter(self._models)))
            graph = self._graph.clone()
            graph.reshape([1, 3, *size])
            self._models[size] = self._compile(graph)
        return self._models[size]


def _multiplies_matrices(graph: Any) -> bool:
    return any(node.get_type_name() == "MatMul" for node in graph.get_ops())


def import_openvino() -> Any:
    """The package openvino, without the telemetry that it and nncf send unless told otherwise.

    Raises:
        ValueError: it is not installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # not importable
    try:
        import openvino
    except ImportError as error:
        raise ValueError(
            "Expected OpenVINO, but it is not installed - run `pip install 'maskmill[openvino]'`"
        ) from error
    return openvino
