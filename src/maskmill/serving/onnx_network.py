"""A network in ONNX Runtime: images in, outputs out, without torch."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from maskmill.networks.padding import at_any_size

GRAPH = "model.onnx"
INPUT = "images"
STRIDE_ENTRY = "stride"  # in the metadata of the graph

Images = npt.NDArray[np.uint8]
Arrays = Mapping[str, npt.NDArray[Any]]


class GraphNetwork(ABC):
    """A graph that takes images whose sides are multiples of its stride."""

    stride: int  # px

    def __call__(self, images: Images) -> Arrays:
        """The outputs that post-processing reads.

        Args:
            images: (B, 3, H, W) uint8 of any size.

        Returns:
            `classes` (B, H, W) uint8 and `confidence` (B, H, W) float32 in place of class logits;
            the other outputs in float32.
        """
        return at_any_size(self._run, images, self.stride)

    @abstractmethod
    def _run(self, images: Images) -> Arrays:
        """Run the graph on images of a size that it takes."""


class OnnxNetwork(GraphNetwork):
    """Images to outputs, whose class logits the graph has reduced to classes and confidence.

    Args:
        path: of the graph.
        threads: of the session; 0: one for each core.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: onnxruntime is not installed, or refuses the file.
    """

    def __init__(self, path: Path, *, threads: int = 0) -> None:
        self.session = _session(path, threads)
        self.names = [output.name for output in self.session.get_outputs()]
        self.stride = int(self.session.get_modelmeta().custom_metadata_map[STRIDE_ENTRY])

    def _run(self, images: Images) -> Arrays:
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
