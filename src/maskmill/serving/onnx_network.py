"""A network in ONNX Runtime: images in, outputs out, without torch."""

from abc import abstractmethod
from collections.abc import Collection
from pathlib import Path
from typing import Any

from maskmill.networks.padding import at_any_size
from maskmill.postprocess.array_network import ArrayNetwork
from maskmill.postprocess.prediction import Images, Outputs

GRAPH = "model.onnx"
INPUT = "images"
STRIDE_ENTRY = "stride"  # in the metadata of the graph

LOGITS = "semantic"  # an output of graphs that do not reduce it to classes and confidence


class GraphNetwork(ArrayNetwork):
    """A graph that takes images whose sides are multiples of its stride.

    Args:
        names: of its outputs.
        stride: in px.
        temperature: of the calibration, for a graph that gives logits; others contain it.
    """

    def __init__(self, names: Collection[str], stride: int, temperature: float) -> None:
        super().__init__(gives_logits=LOGITS in names, temperature=temperature)
        self.stride = stride

    def maps(self, images: Images) -> Outputs:
        """The outputs of the graph for images (B, 3, H, W) uint8 of any size."""
        return at_any_size(self._run, images, self.stride)

    @abstractmethod
    def _run(self, images: Images) -> Outputs:
        """Run the graph on images of a size that it takes."""


class OnnxNetwork(GraphNetwork):
    """Images to outputs by ONNX Runtime.

    Args:
        path: of the graph.
        threads: of the session; 0: one for each core.
        temperature: of the calibration, see `GraphNetwork`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: onnxruntime is not installed, or refuses the file.
    """

    def __init__(self, path: Path, *, threads: int = 0, temperature: float = 1.0) -> None:
        self.session = _session(path, threads)
        self.names = [output.name for output in self.session.get_outputs()]
        stride = int(self.session.get_modelmeta().custom_metadata_map[STRIDE_ENTRY])
        super().__init__(self.names, stride, temperature)

    def _run(self, images: Images) -> Outputs:
        outputs = self.session.run(self.names, {INPUT: images})
        return dict(zip(self.names, outputs, strict=True))


def _session(path: Path, threads: int) -> Any:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected a network in ONNX, but there is none - "
            "run `maskmill export export.format=onnx`"
        )
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError(
            f"{path}: expected ONNX Runtime to run it, but it is not installed - "
            "run `pip install 'maskmill[onnx]'`"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors: every graph causes warnings about its constants
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common base but this one
        raise ValueError(
            f"{path}: expected a graph that ONNX Runtime {onnxruntime.__version__} reads, but got: "
            f"{error} - export the model again"
        ) from error
