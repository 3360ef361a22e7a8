"""A graph of ONNX as a graph of OpenVINO, in fp32 and in INT8."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from maskmill.canonical.png import RGB
from maskmill.networks.padding import at_size
from maskmill.postprocess.array_network import ArrayNetwork
from maskmill.postprocess.prediction import Images, Network, Outputs, Size
from maskmill.postprocess.whole_image import stack
from maskmill.serving.onnx_network import LOGITS, STRIDE_ENTRY, OnnxNetwork
from maskmill.serving.openvino_graph import give_own_constants, normalize_channels_in_place
from maskmill.serving.openvino_network import GRAPH, INT8_GRAPH, SECTION, import_openvino

Score = Callable[[Network], float]


def export_openvino(onnx_graph: Path, folder: Path) -> Path:
    """Write an ONNX graph in OpenVINO's format, in fp32.

    Args:
        onnx_graph: of `export_onnx`.
        folder: the folder to write to.

    Returns:
        the path of the XML file; its weights are beside it.

    Raises:
        ValueError: openvino is not installed.
    """
    openvino = import_openvino()
    # Not `convert_model`, which reports every conversion to its authors.
    graph = openvino.Core().read_model(onnx_graph)
    normalize_channels_in_place(graph)
    stride = OnnxNetwork(onnx_graph, threads=1).stride
    graph.set_rt_info(str(stride), [SECTION, STRIDE_ENTRY])
    openvino.save_model(graph, folder / GRAPH, compress_to_fp16=False)
    return folder / GRAPH


def export_int8(
    graph: Path,
    images: Iterable[RGB],
    score: Score,
    *,
    size: Size,
    max_loss: float,
    temperature: float = 1.0,
) -> Path:
    """Write a graph with 8-bit weights and activations beside its fp32 graph.

    NNCF quantises all layers. If the score falls by more than `max_loss`, it returns those layers
    to fp32 that cost most of it, until the loss is small enough.

    Args:
        graph: the fp32 graph, of `export_openvino`.
        images: (H, W, 3) uint8 RGB, from which ranges of activations are measured.
        score: of a network, a fraction.
        size: height and width of the largest image, of these and of those that are scored.
        max_loss: the largest acceptable fall of the score.
        temperature: of the calibration, for a graph that gives logits.

    Returns:
        the path of the XML file.

    Raises:
        ValueError: openvino or nncf is not installed, or no layer can stay in 8 bits.
    """
    openvino = import_openvino()
    nncf = _import_nncf()
    model = openvino.Core().read_model(graph)
    give_own_constants(model)
    stride = int(model.get_rt_info([SECTION, STRIDE_ENTRY]).astype(str))
    # 8 bits are right for one height and width alone, see `OpenVinoNetwork`
    height, width = (max(-(-side // stride), 2) * stride for side in size)
    model.reshape([-1, 3, height, width])
    padded = [_padded(image, (height, width)) for image in images]
    scores: list[float] = []  # of the fp32 graph first, then with all layers in 8 bits

    def validate(compiled: Any, _: Any) -> float:
        scores.append(score(CompiledNetwork(compiled, (height, width), temperature)))
        return scores[-1]

    quantised = nncf.quantize_with_accuracy_control(
        model,
        calibration_dataset=nncf.Dataset(padded),
        validation_dataset=nncf.Dataset([None]),  # `score` has its own images
        validation_fn=validate,
        max_drop=max_loss,
        subset_size=len(padded),
    )
    if not _has_int8_weights(quantised):
        before = scores[0]
        after = next(value for value in scores if value != before)
        raise ValueError(
            f"{graph}: expected INT8 to lose at most {max_loss:g} of a score, but it falls from "
            f"{before:.4f} to {after:.4f}, and no layer alone can stay in 8 bits - either raise "
            "export.max_loss or set export.int8=false"
        )
    quantised.reshape([-1, 3, -1, -1])
    quantised.set_rt_info(str(stride), [SECTION, STRIDE_ENTRY])
    path = graph.with_name(INT8_GRAPH)
    openvino.save_model(quantised, path, compress_to_fp16=False)
    return path


class CompiledNetwork(ArrayNetwork):
    """A graph that was compiled for one size, to which images are padded.

    Args:
        compiled: by OpenVINO.
        size: height and width in px.
        temperature: of the calibration, for a graph that gives logits.
    """

    def __init__(self, compiled: Any, size: Size, temperature: float) -> None:
        names = [output.any_name for output in compiled.outputs]
        super().__init__(gives_logits=LOGITS in names, temperature=temperature)
        self.compiled = compiled
        self.size = size

    def maps(self, images: Images) -> Outputs:
        """The outputs of the graph for images (B, 3, H, W) uint8."""
        return at_size(self._run, images, self.size)

    def _run(self, images: Images) -> Outputs:
        outputs = self.compiled([images])
        return {output.any_name: outputs[output] for output in self.compiled.outputs}


def _has_int8_weights(graph: Any) -> bool:
    for node in graph.get_ops():
        if node.get_type_name() == "Constant" and node.get_element_type().to_string() == "i8":
            return True
    return False


def _import_nncf() -> Any:
    try:
        import nncf
    except ImportError as error:
        raise ValueError(
            "Expected NNCF, which quantises networks, but it is not installed - "
            "run `pip install 'maskmill[openvino]'`"
        ) from error
    return nncf


def _padded(image: RGB, size: tuple[int, int]) -> Images:
    """A batch of one image, padded as `at_size` does it."""
    padded: list[Images] = []

    def keep(images: Images) -> Outputs:
        padded.append(np.ascontiguousarray(images))
        return {}

    at_size(keep, stack([image]), size)
    return padded[0]
