"""Predictions against ground truth: the analysis that the settings ask for, with its pictures."""

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from maskmill.assembly.model_origin import find_origin
from maskmill.assembly.settings import EvaluateSettings
from maskmill.canonical.folder import PanopticFolder
from maskmill.canonical.freed_memory import keep_freed_memory
from maskmill.evaluation.analysis import analyse
from maskmill.evaluation.bootstrap import Interval, Resampling
from maskmill.evaluation.evaluation import evaluate_folders
from maskmill.evaluation.evidence import Evidence, collect_evidence
from maskmill.evaluation.folders import read_pair
from maskmill.evaluation.joined_folders import join_pairs
from maskmill.evaluation.slices import Slicing, read_tags
from maskmill.reporting.evaluation_folder import write_evaluation
from maskmill.reporting.examples import Gallery

log = logging.getLogger(__name__)

BACKGROUND = {"auto": None, "ignore": False, "background": True}


@dataclass(frozen=True)
class Evaluated:
    """The result of an evaluation whose files are written.

    Args:
        evidence: what it is of; None for predictions of other tools, which cannot be registered.
        scores: name -> fraction, without those that have none; the deciding one comes first.
        bounds: name -> 95 % interval, where there are resamples.
    """

    evidence: Evidence | None
    scores: dict[str, float]
    bounds: dict[str, Interval]


def score(settings: EvaluateSettings, target_path: Path, prediction_path: Path) -> Gallery:
    """Evaluate, analyse, and choose the pictures of the report.

    Args:
        settings: of the stage.
        target_path: ground truth.
        prediction_path: predictions.

    Raises:
        FileNotFoundError: a folder or file is missing.
        ValueError: the predictions do not fit the ground truth, or a file is invalid.
    """
    target = PanopticFolder(target_path)
    images = settings.images or target.image_folder
    tags = _tags(settings, target)  # read first: an error should come before the work
    evaluate = partial(
        evaluate_folders,
        target,
        background=BACKGROUND[settings.void],
        void_in_union=settings.void_in_union,
        metrics=settings.metrics,
        workers=settings.workers,
    )
    # Each folder is opened once: the index of many images takes a while to read.
    _, prediction = read_pair(target, prediction_path)
    evaluation = evaluate(prediction=prediction)
    baseline = None
    baseline_folder = None
    if settings.baseline is not None:
        _, baseline_folder = read_pair(target, settings.baseline)
        baseline = evaluate(prediction=baseline_folder)
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
        prediction,
        images=images,
        num_examples=settings.num_examples,
        baseline=baseline_folder,
        origin=find_origin(prediction_path, settings.model),
    )


def _tags(settings: EvaluateSettings, target: PanopticFolder) -> list[Slicing]:
    if settings.tags is None:
        return []
    return read_tags(settings.tags, [record.file_name for record in target.records])


def _folders(settings: EvaluateSettings) -> tuple[Path, Path]:
    """The ground truth and the predictions; several are joined in a folder beside the output."""
    if len(settings.targets) == 1:
        return settings.targets[0], settings.predictions[0]
    joined = settings.out.with_name(f"{settings.out.name}_joined")
    log.info("%d data sets as one -> %s", len(settings.targets), joined)
    others = [settings.images, settings.baseline, settings.tags]
    return join_pairs(
        settings.targets,
        settings.predictions,
        joined,
        inputs=[path for path in others if path is not None],
    )


def evaluate(settings: EvaluateSettings) -> Evaluated:
    """Score, and write the output folder.

    Raises:
        FileNotFoundError: a folder or file is missing.
        ValueError: the predictions do not fit the ground truth, or a file is invalid.
    """
    keep_freed_memory()
    target, prediction = _folders(settings)
    gallery = score(settings, target, prediction)
    analysis = gallery.analysis
    evaluation = analysis.evaluation
    evidence = collect_evidence(
        gallery.target,
        prediction,
        gallery.images,
        {"background": evaluation.background, "void_in_union": evaluation.void_in_union},
    )
    write_evaluation(settings.out, gallery, evidence)
    scores = {}
    for name in (gallery.task.metric, *analysis.scores):
        value = analysis.scores.get(name)
        if value is not None:
            scores[name] = value
    return Evaluated(evidence, scores, analysis.bounds)
