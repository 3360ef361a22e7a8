"""The model behind a prediction, as the report of its evaluation describes it."""

import logging
from pathlib import Path

from maskmill.canonical.dataset_file import read_prediction_file
from maskmill.evaluation.learning_curves import HISTORY, read_history
from maskmill.reporting.origin import NO_ORIGIN, Origin
from maskmill.serving.model_files import read_model

log = logging.getLogger(__name__)


def find_origin(prediction: Path, model: Path | None) -> Origin:
    """What is known about the model of a prediction.

    Args:
        prediction: what `predict` wrote, or predictions of other tools.
        model: folder of the model; None, or the folder of another model: only the fingerprint is
            known.
    """
    path = prediction / "prediction.json"
    fingerprint = read_prediction_file(path).get("model") if path.is_file() else None
    if fingerprint is None:
        return NO_ORIGIN
    unknown = Origin(fingerprint)
    if model is None:
        return unknown
    try:
        files = read_model(model)
        if files.fingerprint != fingerprint:
            return unknown
        history = model / HISTORY
        rows = read_history(history) if history.is_file() else []
    except FileNotFoundError:
        return unknown
    except ValueError as error:
        log.warning("%s - the report says little about the model", error)
        return unknown
    return Origin(fingerprint, files.weights_digest(), files.config, rows)
