"""The registered model: MLflow runs this file where it loads the model, without the training code.

It needs NumPy, OpenCV, ONNX Runtime and the maskmill modules that travel inside the model. A model
without an ONNX graph needs torch instead of ONNX Runtime.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import numpy.typing as npt

from maskmill.canonical.panoptic import VOID_CATEGORY
from maskmill.canonical.runs import relabel
from maskmill.postprocess.prediction import Network, Prediction
from maskmill.serving.model_files import ModelFiles, read_model
from maskmill.serving.onnx_network import GRAPH, OnnxNetwork
from maskmill.serving.predictor import Predictor
from maskmill.serving.segment_rows import segment_rows

Maps = dict[str, npt.NDArray[np.int32]]
BATCH_SIZE = 8


class SegmentationModel(mlflow.pyfunc.PythonModel):
    """Images (B, H, W, 3) uint8 RGB of any size to label maps of that size, or to segments."""

    predictor: Predictor
    files: ModelFiles

    def load_context(self, context: Any) -> None:
        """Load network and categories."""
        folder = Path(context.artifacts["model"])
        self.files = read_model(folder)
        postprocess = self.files.postprocess()
        temperature = postprocess.table.calibration.temperature
        inference = self.files.prediction.make_inference()
        network = load_network(folder, temperature)
        self.predictor = Predictor(network, postprocess, inference=inference)

    # MLflow compares the annotation with `np.ndarray` itself, which leaves the signature to us;
    # without one it prints a warning at each load.
    def predict(
        self,
        context: Any,
        model_input: np.ndarray,
        params: dict[str, Any] | None = None,
    ) -> Maps | list[dict[str, Any]]:
        """Predict images.

        Args:
            context: MLflow's context, unused.
            model_input: (B, H, W, 3) uint8 RGB.
            params: `output` is "maps" or "segments"; `batch_size` is the number of images per
                forward pass.

        Returns:
            maps: `category` (B, H, W) int32: the data set's category id of every pixel, -1 for
            background; `instance` (B, H, W) int32: 1..N within each image for things, else 0.
            segments: for each image its `height`, `width` and `segments`, see `segment_rows`.

        Raises:
            ValueError: `output` is none of the two.
        """
        values = params or {}
        predictions = self.predictor(model_input, batch_size=values.get("batch_size", BATCH_SIZE))
        output = values.get("output", "maps")
        if output == "segments":
            return [self._segments(prediction) for prediction in predictions]
        if output != "maps":
            raise ValueError(
                f"params.output: expected maps or segments, but got {output!r} - choose one"
            )
        categories = []
        instances = []
        for prediction in predictions:
            categories.append(self._category_map(prediction))
            instances.append(self._instance_map(prediction))
        return {"category": np.stack(categories), "instance": np.stack(instances)}

    def _segments(self, prediction: Prediction) -> dict[str, Any]:
        height, width = prediction.panoptic.size
        rows = segment_rows(prediction, self.files.categories)
        return {"height": height, "width": width, "segments": rows}

    def _category_map(self, prediction: Prediction) -> npt.NDArray[np.int32]:
        category = prediction.panoptic.category_map()
        is_void = category == VOID_CATEGORY
        return np.where(is_void, prediction.semantic, category).astype(np.int32)

    def _instance_map(self, prediction: Prediction) -> npt.NDArray[np.int32]:
        instance_of: dict[int, int] = {}
        for segment in prediction.panoptic.segments:
            if self.files.categories[segment.category_id].isthing:
                instance_of[segment.id] = len(instance_of) + 1
        return relabel(prediction.panoptic.ids, instance_of, default=0)


def load_network(folder: Path, temperature: float = 1.0) -> Network:
    """The graph in ONNX Runtime, or the program in torch where one of the two is missing.

    Args:
        folder: with the graph and the program.
        temperature: of the calibration, for the program and a graph that gives logits.

    Raises:
        ValueError: neither ONNX Runtime nor torch can run the model.
    """
    has_graph = (folder / GRAPH).is_file()
    if has_graph and find_spec("onnxruntime"):
        return OnnxNetwork(folder / GRAPH, temperature=temperature)
    if not find_spec("torch"):
        missing = "neither ONNX Runtime nor PyTorch is" if has_graph else "PyTorch is not"
        package = "onnxruntime" if has_graph else "torch"
        raise ValueError(
            f"{folder}: expected a library that runs the model, but {missing} installed - install "
            f"the model's requirements.txt, or {package} alone"
        )
    from maskmill.postprocess.torch_network import TorchNetwork
    from maskmill.serving.program import load_program

    return TorchNetwork(load_program(folder), temperature=temperature)


mlflow.models.set_model(SegmentationModel())
