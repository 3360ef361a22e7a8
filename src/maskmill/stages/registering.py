"""Registering with the heavy imports: logs the model to its run, makes the version, compares it with the champion."""

import logging
from typing import Any

import mlflow
from mlflow.entities.model_registry import ModelVersion

from maskmill.canonical.folder import PanopticFolder
from maskmill.metrics.comparison import compare, read_counts
from maskmill.serving.model_files import ModelFiles, read_model
from maskmill.serving.packaging import log_model
from maskmill.stages.load import load_network
from maskmill.stages.register import Settings
from maskmill.tracking.lineage import MODEL_TAG, find_run, log_evaluation
from maskmill.tracking.models import CHALLENGER, CHAMPION, champion, create_version, find_version, run_artifact, set_alias
from maskmill.tracking.runs import git_commit
from maskmill.tracking.store import connect, experiment_id

log = logging.getLogger(__name__)

COUNTS = "counts.csv"


def register(settings: Settings, metrics: dict[str, Any]) -> dict[str, Any]:
    """Make a version of the model, or find the one it has, and give it the alias it has earned.

    Args:
        settings: of the stage.
        metrics: of the evaluation.

    Returns:
        name, version, alias, reason, run_id, fingerprint and the deciding metric.

    Raises:
        ValueError: the evaluation lacks the deciding metric.
    """
    if metrics.get(settings.metric) is None:
        raise ValueError(
            f"{settings.evaluation}/metrics.json: expected the deciding metric {settings.metric!r}, but it is not there - "
            f"choose register.metric among {sorted(key for key, value in metrics.items() if isinstance(value, float))}"
        )
    files = read_model(settings.model)
    version = find_version(settings.name, files.fingerprint) or _new_version(settings, files, metrics)
    alias, reason = _decide(settings, version)
    set_alias(version, alias)
    connect().set_model_version_tag(version.name, version.version, "decision", reason)
    return {
        "name": settings.name,
        "version": int(version.version),
        "alias": alias,
        "reason": reason,
        "run_id": version.run_id,
        "fingerprint": files.fingerprint,
        settings.metric: metrics[settings.metric],
    }


def _new_version(settings: Settings, files: ModelFiles, metrics: dict[str, Any]) -> ModelVersion:
    split = PanopticFolder(settings.images)
    with mlflow.start_run(run_id=settings.run or _run_of(settings, files, metrics)) as run:
        uri = log_model(files, load_network(files), split.image(split.records[0]))
    tags = {
        MODEL_TAG: files.fingerprint,
        "data_hash": files.data_digest,
        "git_commit": run.data.tags.get("git_commit", git_commit()),
        settings.metric: f"{metrics[settings.metric]:.6f}",
    }
    return create_version(settings.name, uri, run.info.run_id, tags)


def _run_of(settings: Settings, files: ModelFiles, metrics: dict[str, Any]) -> str:
    """The run that made the model; where the pipeline took it from its cache, a new run that says so."""
    run = find_run(files.fingerprint)
    if run is None:
        log.warning("no MLflow run made model %s here (it came from the pipeline's cache): a new run holds it", files.fingerprint[:12])
        tags = {MODEL_TAG: files.fingerprint, "data_hash": files.data_digest, "git_commit": git_commit(), "restored_from_cache": "true"}
        with mlflow.start_run(experiment_id=experiment_id("maskmill"), run_name="restored", tags=tags) as run:
            pass
    if f"test/{settings.metric}" not in run.data.metrics:  # the same bytes were trained again, and DVC knew their evaluation
        log_evaluation(files.fingerprint, settings.evaluation, {key: value for key, value in metrics.items() if isinstance(value, float)})
    return str(run.info.run_id)


def _decide(settings: Settings, version: ModelVersion) -> tuple[str, str]:
    """The alias a version has earned, and why."""
    present = champion(settings.name)
    if present is None:
        return CHAMPION, "the first version of this model"
    if present.version == version.version:
        return CHAMPION, "it is the champion already"
    counts = run_artifact(present.run_id, f"evaluate/{COUNTS}")
    if counts is None:
        return CHALLENGER, f"champion version {present.version} has no evaluation to compare with"
    metric, _, group = settings.metric.partition("/")
    ours, theirs = (read_counts(path, things_only=group == "thing") for path in (settings.evaluation / COUNTS, counts))
    if ours.keys() != theirs.keys():
        return CHALLENGER, f"champion version {present.version} was evaluated on other images: evaluate it on these to compare"
    result = compare(ours, theirs, metric=metric, margin=settings.margin)
    numbers = (
        f"{settings.metric} {result.candidate:.4f} against {result.baseline:.4f} of champion version {present.version}: "
        f"leads by more than {settings.margin:g} in {result.confidence:.1%} of resamples, {settings.confidence:.1%} asked"
    )
    return (CHAMPION if result.confidence >= settings.confidence else CHALLENGER), numbers
