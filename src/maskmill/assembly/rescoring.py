"""A registered version predicts and is scored on images on which it has no scores yet."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow.entities.model_registry import ModelVersion
from omegaconf import OmegaConf

from maskmill.assembly.run_report import add_evaluation
from maskmill.assembly.scoring import evaluate
from maskmill.assembly.settings import EvaluateSettings, PredictSettings
from maskmill.evaluation.evidence import OF_PREDICTION, Evidence, read_evidence
from maskmill.serving.construction import check_targets
from maskmill.serving.description import PostprocessTargets
from maskmill.serving.formats.canonical import Canonical
from maskmill.serving.image_folder import find_images
from maskmill.serving.prediction_settings import WHOLE, PredictionSettings
from maskmill.tracking.lineage import MODEL_TAG, PREDICTION_TAG, find_run, kept_evaluation
from maskmill.tracking.store import connect
from maskmill.tracking.version_facts import version_facts

log = logging.getLogger(__name__)

BATCH_SIZE = 8
NUM_RESAMPLES = 1000


def scores_of(version: ModelVersion, evidence: Evidence, images: Path, folder: Path) -> Path:
    """The evaluation of a version that can be compared with another one.

    It is the one that MLflow keeps; if there is none, the version predicts these images first, in
    its own way.

    Args:
        version: of the registry.
        evidence: of the evaluation to compare with; its images and its scoring apply.
        images: the split of that evaluation.
        folder: for temporary files.

    Returns:
        the folder of the evaluation.

    Raises:
        ValueError: the model cannot be loaded or does not fit these images.
    """
    fingerprint = version.tags.get(MODEL_TAG, "")
    prediction = tested_prediction(version)
    key = evidence.key_with(prediction.as_dict())
    runs = [version.run_id]
    later = find_run(fingerprint)
    if later is not None and later.info.run_id not in runs:
        runs.append(later.info.run_id)
    for run_id in runs:
        kept = kept_evaluation(run_id, key, folder / run_id)
        if kept is not None and _vouches(kept, fingerprint, key):
            return kept
    log.info(
        "%s version %s has no scores on these %d images: it predicts them now",
        version.name,
        version.version,
        len(evidence.images),
    )
    return _score(version, {**evidence.settings, **prediction.as_dict()}, images, folder)


def tested_prediction(version: ModelVersion) -> PredictionSettings:
    """How a version predicts."""
    return PredictionSettings.of(json.loads(version_facts(version).get(PREDICTION_TAG) or "{}"))


def _vouches(folder: Path, fingerprint: str, key: str) -> bool:
    """Is it an evaluation of this model on these images, and unchanged?"""
    try:
        kept = read_evidence(folder)
    except (OSError, ValueError) as error:
        log.warning("%s - the model predicts again", error)
        return False
    return (kept.model, kept.key, kept.other_images) == (fingerprint, key, [])


def _score(version: ModelVersion, settings: Mapping[str, Any], images: Path, folder: Path) -> Path:
    model = f"models:/{version.name}/{version.version}"
    out = folder / "evaluate"
    scoring = EvaluateSettings(
        target=images,
        prediction=predict_split(model, images, folder / "predict", settings),
        out=out,
        images=None,
        workers=1,
        num_examples=0,
        void="background" if settings["background"] else "ignore",
        void_in_union=settings["void_in_union"],
        num_resamples=NUM_RESAMPLES,
    )
    evaluated = evaluate(scoring)
    assert evaluated.evidence is not None
    run = connect().get_run(version.run_id)
    add_evaluation(run, evaluated.evidence.key, out, evaluated.scores, evaluated.bounds)
    return out


def predict_split(model: str, images: Path, out: Path, settings: Mapping[str, Any]) -> Path:
    """Predict a prepared split as another prediction was made.

    Args:
        model: a folder, or a version of the registry.
        images: the split.
        out: folder for the predictions.
        settings: of that prediction: inference, changes of the post-processing.

    Returns:
        `out`.

    Raises:
        ValueError: the settings name other code than inference, or the model cannot be loaded.
    """
    check_targets(settings, "settings of the prediction", PostprocessTargets())
    values: dict[str, Any] = {
        "_target_": f"{PredictSettings.__module__}.{PredictSettings.__name__}",
        "model": model,
        "images": str(images),
        "out": str(out),
        "batch_size": BATCH_SIZE,
        "device": "cpu",
        "inference": dict(WHOLE),
        "postprocess": {},
        "on_problem": "stop",
        "output": {"_target_": f"{Canonical.__module__}.{Canonical.__name__}", "_partial_": True},
    }
    values |= {key: settings[key] for key in OF_PREDICTION if key in settings}
    node = OmegaConf.create({"predict": values}).predict
    from maskmill.assembly.prediction_job import (
        PredictionJob,
    )  # torch: seconds, for old models only

    PredictionJob(node, find_images(images)).run()
    return out
