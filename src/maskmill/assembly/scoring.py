"""Predictions against ground truth: the analysis that the settings ask for, with its pictures."""

from functools import partial
from pathlib import Path

from maskmill.assembly.settings import EvaluateSettings
from maskmill.canonical.dataset_file import read_prediction_file
from maskmill.canonical.folder import PanopticFolder
from maskmill.evaluation.analysis import analyse
from maskmill.evaluation.bootstrap import Resampling
from maskmill.evaluation.evaluation import Evaluation, evaluate_folders
from maskmill.evaluation.evidence import Evidence, collect_evidence
from maskmill.evaluation.slices import Slicing, read_tags
from maskmill.reporting.examples import Gallery

BACKGROUND = {"auto": None, "ignore": False, "background": True}


def score(settings: EvaluateSettings) -> Gallery:
    """Evaluate, analyse, and choose the pictures of the report.

    Raises:
        FileNotFoundError: a folder or file is missing.
        ValueError: the predictions do not fit the ground truth, or a file is invalid.
    """
    target = PanopticFolder(settings.target)
    images = settings.images or target.image_folder
    tags = _tags(settings, target)  # read first: an error should come before the work
    evaluate = partial(
        evaluate_folders,
        settings.target,
        background=BACKGROUND[settings.void],
        void_in_union=settings.void_in_union,
        workers=settings.workers,
    )
    evaluation = evaluate(prediction=settings.prediction)
    baseline = None if settings.baseline is None else evaluate(prediction=settings.baseline)
    analysis = analyse(
        evaluation,
        Resampling(settings.num_resamples, settings.seed),
        images=images,
        tags=tags,
        baseline=baseline,
        workers=settings.workers,
    )
    return Gallery.from_folders(
        analysis,
        target,
        settings.prediction,
        images=images,
        num_examples=settings.num_examples,
        baseline=settings.baseline,
    )


def _tags(settings: EvaluateSettings, target: PanopticFolder) -> list[Slicing]:
    if settings.tags is None:
        return []
    return read_tags(settings.tags, [record.file_name for record in target.records])


def evidence_of(settings: EvaluateSettings, evaluation: Evaluation) -> Evidence | None:
    """What an evaluation is of; None for predictions of other tools, which cannot be registered.

    Raises:
        ValueError: prediction.json has another form.
    """
    target = PanopticFolder(settings.target)
    images = settings.images or target.image_folder
    scoring = {"background": evaluation.background, "void_in_union": evaluation.void_in_union}
    return collect_evidence(target, settings.prediction, images, scoring)


def predicting_model(prediction: Path) -> str | None:
    """The fingerprint of the model that made a prediction; None if `predict` did not write it.

    Raises:
        ValueError: prediction.json has another form.
    """
    path = prediction / "prediction.json"
    fingerprint = read_prediction_file(path).get("model") if path.is_file() else None
    return None if fingerprint is None else str(fingerprint)
