"""A trained and evaluated model becomes a version of the registry and gets an alias."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from maskmill.assembly.code_digests import import_closure, source_files, target_modules
from maskmill.assembly.model_loading import load_network
from maskmill.assembly.settings import RegisterSettings
from maskmill.canonical.files import read_json, write_json
from maskmill.canonical.folder import PanopticFolder
from maskmill.evaluation.bootstrap import Resampling
from maskmill.evaluation.comparison import Difference, compare, differences_of_counts
from maskmill.evaluation.evidence import require_evidence
from maskmill.evaluation.image_counts import ImageCounts, read_image_counts
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
from maskmill.tracking.runs import add_restored_run, git_commit, reopened_run
from maskmill.tracking.store import connect
from maskmill.tracking.unsent import send_unsent

log = logging.getLogger(__name__)

COUNTS = "counts.csv"
NUM_RESAMPLES = 2000
RUNTIME = "maskmill.serving.pyfunc_model"  # MLflow runs its file wherever the model is loaded


@dataclass(frozen=True)
class Decision:
    """The alias of a version, the reason, and its differences from the champion."""

    alias: str
    reason: str
    differences: Sequence[Difference] = ()


class Registration:
    """One registration; its methods stand in the order in which they run.

    Args:
        settings: of the stage.

    Raises:
        FileNotFoundError: there is no model or no evaluation.
        ValueError: the evaluation lacks the deciding metric, or is not of this model and split.
    """

    def __init__(self, settings: RegisterSettings) -> None:
        self.settings = settings
        scores = settings.evaluation / "metrics.json"
        if not scores.is_file():
            raise FileNotFoundError(
                f"{scores}: expected the metrics of the model, but there are none - either run "
                "`maskmill evaluate` first or check `register.evaluation`"
            )
        self.metrics: dict[str, Any] = read_json(scores)
        if self.metrics.get(settings.metric) is None:
            numbers = sorted(key for key, value in self.metrics.items() if isinstance(value, float))
            raise ValueError(
                f"{settings.evaluation}/metrics.json: expected the deciding metric "
                f"{settings.metric!r}, but it is missing - choose register.metric among {numbers}"
            )
        self.files = read_model(settings.model)
        self.split = PanopticFolder(settings.images)
        self.evidence = require_evidence(
            settings.evaluation, model=self.files.fingerprint, split=self.split
        )

    def run(self) -> dict[str, Any]:
        """Register once, decide the alias, and write version.json and comparison.html.

        Returns:
            name, version, alias, reason, fingerprint and the deciding metric: the same in every
            clone that registers its first model.
        """
        send_unsent(connect())
        name = self.settings.name
        version = find_version(name, self.files.fingerprint) or self._new_version()
        decision = self._decide(version)
        set_alias(version, decision.alias)
        connect().set_model_version_tag(name, version.version, "decision", decision.reason)
        return self._write(version, decision)

    def _new_version(self) -> ModelVersion:
        example = self.split.image(self.split.records[0])
        run = self._training_run()
        with reopened_run(run.info.run_id):
            sources = runtime_sources(self.files)
            uri = log_model(self.files, load_network(self.files), example, sources=sources)
        tags = {
            MODEL_TAG: self.files.fingerprint,
            "data_hash": self.files.data_digest,
            "git_commit": run.data.tags.get("git_commit", git_commit()),
            self.settings.metric: f"{self.metrics[self.settings.metric]:.6f}",
        }
        return create_version(self.settings.name, uri, run.info.run_id, tags)

    def _training_run(self) -> Run:
        """The run that trained the model, with its evaluation; a new one for a restored model."""
        if self.settings.run is not None:
            return connect().get_run(self.settings.run)
        run = find_run(self.files.fingerprint) or self._restored_run()
        if f"test/{self.settings.metric}" not in run.data.metrics:  # DVC restored the evaluation
            scores = {key: value for key, value in self.metrics.items() if isinstance(value, float)}
            intervals = self.metrics.get("interval", {})
            log_evaluation(self.files.fingerprint, self.settings.evaluation, scores, intervals)
        return run

    def _restored_run(self) -> Run:
        fingerprint = self.files.fingerprint
        log.warning(
            "no MLflow run trained model %s here: a new run is added for it", fingerprint[:12]
        )
        return add_restored_run({MODEL_TAG: fingerprint, "data_hash": self.files.data_digest})

    def _decide(self, version: ModelVersion) -> Decision:
        present = champion(self.settings.name)
        if present is None:
            return Decision(CHAMPION, "the first version of this model")
        if present.version == version.version:
            # The first reason again, so that registering again writes the same bytes.
            return Decision(CHAMPION, present.tags.get("decision", "it is the champion already"))
        counts = run_artifact(present.run_id, f"evaluate/{COUNTS}")
        if counts is None:
            reason = f"champion version {present.version} has no evaluation to compare with"
            return Decision(CHALLENGER, reason)
        return self._compare(present, counts)

    def _compare(self, present: ModelVersion, counts: Path) -> Decision:
        candidate = read_image_counts(self.settings.evaluation / COUNTS)
        baseline = read_image_counts(counts)
        if set(candidate.images) != set(baseline.images):
            return Decision(
                CHALLENGER,
                f"champion version {present.version} was evaluated on other images: "
                "evaluate it on these to compare",
            )
        return self._compare_counts(present, candidate, baseline)

    def _compare_counts(
        self, present: ModelVersion, candidate: ImageCounts, baseline: ImageCounts
    ) -> Decision:
        settings = self.settings
        resampling = Resampling(NUM_RESAMPLES)
        result = compare(
            candidate,
            baseline,
            metric=settings.metric,
            margin=settings.margin,
            resampling=resampling,
        )
        reason = (
            f"{settings.metric} {result.candidate:.4f} against {result.baseline:.4f} "
            f"of champion version {present.version}: leads by more than {settings.margin:g} "
            f"in {result.confidence:.1%} of resamples, {settings.confidence:.1%} required"
        )
        alias = CHAMPION if result.confidence >= settings.confidence else CHALLENGER
        return Decision(alias, reason, differences_of_counts(candidate, baseline, resampling))

    def _write(self, version: ModelVersion, decision: Decision) -> dict[str, Any]:
        out = self.settings.out
        described = {
            "name": self.settings.name,
            "version": int(version.version),
            "alias": decision.alias,
            "reason": decision.reason,
            "fingerprint": self.files.fingerprint,
            self.settings.metric: self.metrics[self.settings.metric],
        }
        page = write_comparison(
            out / "comparison.html", described, decision.differences, num_resamples=NUM_RESAMPLES
        )
        connect().log_artifact(version.run_id, str(page), "register")
        write_json(out / "version.json", described)
        return described


def runtime_sources(files: ModelFiles) -> dict[str, Path]:
    """Path within the package -> file, of the code that a registered model needs to predict."""
    modules = {RUNTIME} | target_modules(files.config["task"]["postprocess"])
    return source_files(import_closure(modules))
