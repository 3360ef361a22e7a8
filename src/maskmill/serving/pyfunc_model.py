"""The registered model. MLflow runs this file where the model is loaded; it needs torch, numpy and OpenCV, and none of what trains."""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import numpy.typing as npt

from maskmill.canonical.panoptic import VOID_CATEGORY
from maskmill.canonical.runs import relabel
from maskmill.postprocess.prediction import Prediction
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
        self.predictor = Predictor(load_program(folder), self.files.postprocess())

    # Without a hint on `model_input`: MLflow would take it for the signature, which is logged with the model.
    def predict(self, context: Any, model_input, params: dict[str, Any] | None = None) -> Maps:  # type: ignore[no-untyped-def] # noqa: ANN001
        """Label images.

        Args:
            context: MLflow's.
            model_input: (B, H, W, 3) uint8 RGB.
            params: none are taken.

        Returns:
            `category` (B, H, W) int32: the data set's category id of every pixel, -1 for background;
            `instance` (B, H, W) int32: 1..N within each image for things, 0 elsewhere.
        """
        maps = [self._maps(prediction) for prediction in self.predictor(model_input)]
        return {key: np.stack([each[key] for each in maps]) for key in ("category", "instance")}

    def _maps(self, prediction: Prediction) -> Maps:
        panoptic = prediction.panoptic
        things = [
            segment.id
            for segment in panoptic.segments
            if self.files.categories[segment.category_id].isthing
        ]
        category = panoptic.category_map()
        category = np.where(category == VOID_CATEGORY, prediction.semantic, category).astype(
            np.int32
        )
        return {
            "category": category,
            "instance": relabel(
                panoptic.ids, {key: n for n, key in enumerate(things, start=1)}, default=0
            ),
        }


mlflow.models.set_model(SegmentationModel())
