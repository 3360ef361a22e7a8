"""A prediction as the body of an answer: JSON with run-length codes, or a PNG."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from maskmill.canonical.categories import Categories
from maskmill.canonical.png import LABELS, encode_png, ids_to_png
from maskmill.postprocess.prediction import Prediction
from maskmill.serving.segment_rows import segment_rows
from maskmill.serving.server.refusal import Refusal

Form = Literal["json", "panoptic", "labels"]
MEDIA_TYPES: Mapping[str, str] = {
    "json": "application/json",
    "panoptic": "image/png",
    "labels": "image/png",
}


@dataclass(frozen=True)
class AnswerWriter:
    """Writes predictions of one model as bodies of answers.

    Args:
        categories: of the model.
        model: what answers say about the model: its name and fingerprint.
    """

    categories: Categories
    model: Mapping[str, str]

    def write(self, prediction: Prediction, form: str) -> bytes:
        """The body of an answer.

        Args:
            prediction: of one image.
            form: a `Form`.

        Raises:
            Refusal: 422, label PNGs of a model that leaves pixels without a class.
        """
        writers: Mapping[str, Callable[[Prediction], bytes]] = {
            "json": self._json,
            "panoptic": _panoptic_png,
            "labels": self._labels_png,
        }
        return writers[form](prediction)

    def _json(self, prediction: Prediction) -> bytes:
        height, width = prediction.panoptic.size
        body = {
            "height": height,
            "width": width,
            "model": dict(self.model),
            "categories": self.categories.as_list(),
            "segments": segment_rows(prediction, self.categories),
        }
        return json.dumps(body, separators=(",", ":"), allow_nan=False).encode()

    def _labels_png(self, prediction: Prediction) -> bytes:
        if self.categories.background_index is not None:
            raise Refusal(
                422,
                "format=labels",
                expected="format=json or format=panoptic of a model whose background has no class",
                do="choose one of these",
            )
        labels = prediction.semantic
        dtype = np.uint8 if int(labels.max()) <= np.iinfo(np.uint8).max else np.uint16
        return encode_png(labels.astype(dtype), LABELS)


def _panoptic_png(prediction: Prediction) -> bytes:
    return ids_to_png(prediction.panoptic.ids)
