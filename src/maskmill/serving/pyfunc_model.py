"""The registered model: MLflow runs this file where it loads the model, without the training code.

It needs torch, numpy, OpenCV and the maskmill modules that travel inside the model.
"""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import numpy.typing as npt

from maskmill.canonical.panoptic import VOID_CATEGORY
from maskmill.canonical.runs import relabel
from maskmill.postprocess.prediction import Prediction
from maskmill.postprocess.torch_network import TorchNetwork
from maskmill.serving.model_files import ModelFiles, read_model
from maskmill.serving.predictor import Predictor
from maskmill.serving.program import load_program

Maps = dict[str, npt.NDArray[np.int32]]


class SegmentationModel(mlflow.pyfunc.PythonModel):
    """Images (B, H, W, 3) uint8 RGB of any size to label maps of that size."""

    predictor: Predictor
    files: ModelFiles

    def load_context(self, context: Any) -> None:
        """Load program and categories."""
        folder = Path(context.artifacts["model"])
        self.files = read_model(folder)
        self.predictor = Predictor(TorchNetwork(load_program(folder)), self.files.postprocess())

    # `model_input` has no annotation, since MLflow would infer the signature from it.
    def predict(  # type: ignore[no-untyped-def]
        self,
        context: Any,
        model_input,  # noqa: ANN001
        params: dict[str, Any] | None = None,
    ) -> Maps:
        """Label images.

        Args:
            context: MLflow's context, unused.
            model_input: (B, H, W, 3) uint8 RGB.
            params: unused.

        Returns:
            `category` (B, H, W) int32: the data set's category id of every pixel, -1 for
            background; `instance` (B, H, W) int32: 1..N within each image for things, else 0.
        """
        predictions = list(self.predictor(model_input))
        categories = [self._category_map(prediction) for prediction in predictions]
        instances = [self._instance_map(prediction) for prediction in predictions]
        return {"category": np.stack(categories), "instance": np.stack(instances)}

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


mlflow.models.set_model(SegmentationModel())
