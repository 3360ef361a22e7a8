"""Registering with the heavy imports: logs the model to its run, makes the version, compares it with the champion."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlflow
from mlflow.entities.model_registry import ModelVersion

from maskmill.assembly.model_loading import load_network
from maskmill.assembly.settings import RegisterSettings
from maskmill.canonical.folder import PanopticFolder
from maskmill.evaluation.bootstrap import Resampling
from maskmill.evaluation.comparison import Difference, compare, differences_of_counts
from maskmill.evaluation.image_counts import read_image_counts
from maskmill.reporting.comparison_page import write_comparison
from maskmill.serving.model_files import ModelFiles, read_model
from maskmill.serving.packaging import log_model
from maskmill.tracking.lineage import MODEL_TAG, find_run, log_evaluation
from maskmill.tracking.models import (
    CHALLENGER,
    CHAMPION,
    champion,
    create_version,
    find_version,
    run_artifact,
    set_alias,
)
from maskmill.tracking.runs import git_commit
from maskmill.tracking.store import connect, experiment_id

log = logging.getLogger(__name__)

COUNTS = "counts.csv"
NUM_RESAMPLES = 2000


@dataclass(frozen=True)
class Decision:
    """The alias a version has earned and why, and how it differs from the champion, where the two could be compared."""

    alias: str
    reason: str
    differences: Sequence[Difference] = ()


def register(settings: RegisterSettings, metrics: dict[str, Any]) -> dict[str, Any]:
    """Make a version of the model, or find the one it has, and give it the alias it has earned; comparison.html says why.

    Args:
        settings: of the stage.
        metrics: of the evaluation.

    Returns:
        name, version, alias, reason, fingerprint and the deciding metric. Nothing in it differs between fresh clones: the run is found by
        the fingerprint (`tracking.lineage.find_run`).

    Raises:
        ValueError: the evaluation lacks the deciding metric.
    """
    if metrics.get(settings.metric) is None:
        raise ValueError(
            f"{settings.evaluation}/metrics.json: expected the deciding metric {settings.metric!r}, but it is not there - "
            f"choose register.metric among {sorted(key for key, value in metrics.items() if isinstance(value, float))}"
        )
    files = read_model(settings.model)
    version = find_version(settings.name, files.fingerprint) or _new_version(
        settings, files, metrics
    )
    decision = _decide(settings, version)
    set_alias(version, decision.alias)
    connect().set_model_version_tag(version.name, version.version, "decision", decision.reason)
    described = {
        "name": settings.name,
        "version": int(version.version),
        "alias": decision.alias,
        "reason": decision.reason,
        "fingerprint": files.fingerprint,
        settings.metric: metrics[settings.metric],
    }
    page = write_comparison(
        settings.out / "comparison.html",
        described,
        decision.differences,
        num_resamples=NUM_RESAMPLES,
    )
    connect().log_artifact(version.run_id, str(page), "register")
    return described


def _new_version(
    settings: RegisterSettings, files: ModelFiles, metrics: dict[str, Any]
) -> ModelVersion:
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


def _run_of(settings: RegisterSettings, files: ModelFiles, metrics: dict[str, Any]) -> str:
    """The run that made the model; where the pipeline took it from its cache, a new run that says so."""
    run = find_run(files.fingerprint)
    if run is None:
        log.warning(
            "no MLflow run made model %s here (it came from the pipeline's cache): a new run holds it",
            files.fingerprint[:12],
        )
        tags = {
            MODEL_TAG: files.fingerprint,
            "data_hash": files.data_digest,
            "git_commit": git_commit(),
            "restored_from_cache": "true",
        }
        with mlflow.start_run(
            experiment_id=experiment_id("maskmill"), run_name="restored", tags=tags
        ) as run:
            pass
    if (
        f"test/{settings.metric}" not in run.data.metrics
    ):  # the same bytes were trained again, and DVC knew their evaluation
        scores = {key: value for key, value in metrics.items() if isinstance(value, float)}
        log_evaluation(files.fingerprint, settings.evaluation, scores, metrics.get("interval", {}))
    return str(run.info.run_id)


def _decide(settings: RegisterSettings, version: ModelVersion) -> Decision:
    """What a version has earned."""
    present = champion(settings.name)
    if present is None:
        return Decision(CHAMPION, "the first version of this model")
    if present.version == version.version:
        # The reason given at first, so that registering again writes the same bytes.
        return Decision(CHAMPION, present.tags.get("decision", "it is the champion already"))
    counts = run_artifact(present.run_id, f"evaluate/{COUNTS}")
    if counts is None:
        return Decision(
            CHALLENGER, f"champion version {present.version} has no evaluation to compare with"
        )
    ours, theirs = (read_image_counts(path) for path in (settings.evaluation / COUNTS, counts))
    if set(ours.images) != set(theirs.images):
        return Decision(
            CHALLENGER,
            f"champion version {present.version} was evaluated on other images: evaluate it on these to compare",
        )
    resampling = Resampling(NUM_RESAMPLES)
    result = compare(
        ours, theirs, metric=settings.metric, margin=settings.margin, resampling=resampling
    )
    numbers = (
        f"{settings.metric} {result.candidate:.4f} against {result.baseline:.4f} of champion version {present.version}: "
        f"leads by more than {settings.margin:g} in {result.confidence:.1%} of resamples, {settings.confidence:.1%} asked"
    )
    alias = CHAMPION if result.confidence >= settings.confidence else CHALLENGER
    return Decision(alias, numbers, differences_of_counts(ours, theirs, resampling))
