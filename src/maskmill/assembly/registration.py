"""A trained and evaluated model becomes a version of the registry and gets an alias."""

import dataclasses
import json
import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from maskmill.assembly.chosen import run_parameters
from maskmill.assembly.code_digests import import_closure, source_files, target_modules
from maskmill.assembly.gate import NUM_RESAMPLES, Decision, Gate
from maskmill.assembly.limits import require_known_classes
from maskmill.assembly.run_report import add_ensemble, add_evaluation
from maskmill.assembly.settings import RegisterSettings
from maskmill.canonical.files import read_json, write_bytes, write_json
from maskmill.canonical.folder import PanopticFolder
from maskmill.canonical.yaml_file import read_yaml
from maskmill.evaluation.deciding import find_task
from maskmill.evaluation.evidence import EVIDENCE, require_evidence
from maskmill.evaluation.learning_curves import HISTORY, read_history
from maskmill.reporting.comparison_page import write_comparison
from maskmill.reporting.model_card import model_card
from maskmill.serving.model_files import ModelFiles, read_model
from maskmill.serving.prediction_settings import PredictionSettings, in_words
from maskmill.tracking.descriptions import artifact_link
from maskmill.tracking.lineage import (
    METRIC_TAG,
    MODEL_TAG,
    PREDICTION_TAG,
    TEST_TAG,
    WEIGHTS_TAG,
    evaluation_path,
    find_run,
    has_evaluation,
    run_artifact,
)
from maskmill.tracking.models import (
    create_version,
    describe_version,
    find_logged_model,
    find_version,
    keep_facts,
    registry_lock,
)
from maskmill.tracking.origin import COMMIT_TAG, ORIGIN_TAGS, RUN_TAG, is_pipeline
from maskmill.tracking.restored import restored_run
from maskmill.tracking.runs import flatten, git_commit, reopened_run
from maskmill.tracking.store import connect, store_errors
from maskmill.tracking.unsent import send_unsent
from maskmill.tracking.version_table import INFERENCE_TAG, INTERVAL_TAG, METRICS

log = logging.getLogger(__name__)

RUNTIME = "maskmill.serving.pyfunc_model"  # MLflow runs its file wherever the model is loaded
EVIDENCE_TAG = "maskmill.evidence"
CONFIGURATION = Path("out/conf/train.yaml")  # with which the pipeline trained the model
PAGE = "comparison.html"
PAGE_FOLDER = "register"  # among the files of the run


class Registration:
    """One registration; its methods stand in the order in which they run.

    Args:
        settings: of the stage.

    Raises:
        FileNotFoundError: there is no model or no evaluation.
        ValueError: the evaluation lacks the deciding metric, or is not of this model and split.
    """

    def __init__(self, settings: RegisterSettings) -> None:
        scores = settings.evaluation / "metrics.json"
        if not scores.is_file():
            raise FileNotFoundError(
                f"{scores}: expected the metrics of the model, but there are none - either run "
                "`maskmill evaluate` first or check `register.evaluation`"
            )
        self.metrics: dict[str, Any] = read_json(scores)
        files = read_model(settings.model)
        settings = decided(settings, files)
        self.settings = settings
        if self.metrics.get(settings.metric) is None:
            numbers = sorted(key for key, value in self.metrics.items() if isinstance(value, float))
            raise ValueError(
                f"{settings.evaluation}/metrics.json: expected the deciding metric "
                f"{settings.metric!r}, but it is missing - either choose register.metric among "
                f"{numbers}, or evaluate again with its family in evaluate.metrics"
            )
        self.split = PanopticFolder(settings.images)
        self.evidence = require_evidence(
            settings.evaluation, model=files.fingerprint, split=self.split
        )
        tested = PredictionSettings.of(self.evidence.settings)
        tested.make_inference(f"{settings.evaluation}/{EVIDENCE}: settings")
        self.files = dataclasses.replace(files, prediction=tested)
        require_known_classes(settings, self.files.categories)

    @store_errors()
    def run(self) -> dict[str, Any]:
        """Register once, decide the alias, and write version.json and comparison.html.

        Returns:
            name, version, alias, reason, fingerprint and the deciding metric.
        """
        send_unsent(connect())
        gate = Gate(self.settings, self.evidence, self.metrics[self.settings.metric])
        with registry_lock(self.settings.name):
            version = self._version()
            keep_facts(version, self._score_tags())  # of a later evaluation
            decision = gate.decide(version)
        describe_version(version, self._card(version, decision), decision.reason)
        return self._write(version, decision)

    def _version(self) -> ModelVersion:
        """The version of this model; a killed registration is finished."""
        name = self.settings.name
        fingerprint = self.files.fingerprint
        prediction = self.files.prediction.text()
        version = find_version(name, fingerprint, prediction)
        if version is not None:
            return version
        run = self._training_run()
        uri = find_logged_model(run, fingerprint, prediction) or self._log_model(run)
        tags = {
            **self._score_tags(),  # first: MLflow shows tags in this order
            COMMIT_TAG: git_commit(),
            RUN_TAG: run.info.run_id,
            **{key: value for key, value in run.data.tags.items() if key in ORIGIN_TAGS},
            "data_hash": self.files.data_digest,
            MODEL_TAG: fingerprint,
            PREDICTION_TAG: prediction,
            INFERENCE_TAG: in_words(self.files.prediction),
            WEIGHTS_TAG: self.files.weights_digest(),
        }
        return create_version(name, uri, tags)

    def _training_run(self) -> Run:
        """The run that trained the model, with its evaluation; a new one for a restored model."""
        if self.settings.run is not None:
            return connect().get_run(self.settings.run)
        run = find_run(self.files.fingerprint) or self._restored_run()
        if not has_evaluation(run, self.evidence.key):  # DVC restored the evaluation
            scores = {key: value for key, value in self.metrics.items() if isinstance(value, float)}
            bounds = self.metrics.get("interval", {})
            add_evaluation(run, self.evidence.key, self.settings.evaluation, scores, bounds)
        return run

    def _restored_run(self) -> Run:
        """The run of a model that DVC's cache brought, or of an ensemble."""
        if self.files.members:
            return add_ensemble(self.files)
        history = self.files.folder / HISTORY
        tags = {
            MODEL_TAG: self.files.fingerprint,
            WEIGHTS_TAG: self.files.weights_digest(),
            "data_hash": self.files.data_digest,
        }
        curves = read_history(history) if history.is_file() else []
        if not is_pipeline():
            return restored_run(tags, history=curves)
        trained = read_yaml(CONFIGURATION)
        tracking = trained["tracking"]
        named = (tracking["choices"], tracking["params"])
        params = run_parameters(trained, flatten(trained), *named)
        return restored_run(tags, history=curves, configuration=CONFIGURATION, params=params)

    def _log_model(self, run: Run) -> str:
        # torch and timm take seconds to import: not for a version that exists
        from maskmill.assembly.network_loading import load_network
        from maskmill.serving.packaging import log_model

        example = self.split.image(self.split.records[0])
        with reopened_run(run.info.run_id):
            sources = runtime_sources(self.files)
            return log_model(self.files, load_network(self.files), example, sources=sources)

    def _score_tags(self) -> dict[str, str]:
        """The scores by which versions are compared and listed, and what they are of."""
        tags = {}
        for metric in METRICS:
            if self.metrics.get(metric) is not None:
                tags[metric] = f"{self.metrics[metric]:.6f}"
        interval = self.metrics.get("interval", {}).get(self.settings.metric)
        return tags | {
            METRIC_TAG: self.settings.metric,
            INTERVAL_TAG: json.dumps(interval),
            TEST_TAG: self.evidence.test,
            EVIDENCE_TAG: self.evidence.digest,
        }

    def _card(self, version: ModelVersion, decision: Decision) -> str:
        run = connect().get_run(version.run_id)
        params = run.data.params
        network = self.files.config["network"]["_target_"].rpartition(".")[2]
        facts = {
            "network": " + ".join([params.get("network", network), *_present(params, "encoder")]),
            "training data": self.files.data_digest[:12],
            "commit": version.tags.get("git_commit", "unknown"),
            "inference": in_words(self.files.prediction),
            "model": self.files.fingerprint[:12],
        }
        return model_card(
            self.settings.evaluation,
            name=version.name,
            number=int(version.version),
            decision=decision.reason,
            facts=facts,
            links=self._links(version, run),
        )

    def _links(self, version: ModelVersion, run: Run) -> list[str]:
        """Where MLflow shows what this version is based on."""
        where = (run.info.experiment_id, run.info.run_id)
        page = f"{_page_folder(version)}/{PAGE}"
        files = (f"{evaluation_path(self.evidence.key)}/report.html", page)
        link = f"[{run.info.run_name}](#/experiments/{where[0]}/runs/{where[1]})"
        return [link, *[artifact_link(*where, file) for file in files]]

    def _write(self, version: ModelVersion, decision: Decision) -> dict[str, Any]:
        out = self.settings.out
        metric = self.settings.metric
        described = {
            "name": self.settings.name,
            "version": int(version.version),
            "alias": decision.alias,
            "reason": decision.reason,
            "fingerprint": self.files.fingerprint,
            metric: self.metrics[metric],
        }
        page = out / PAGE
        if not (decision.is_champion_already and self._restore_page(version, page)):
            write_comparison(page, described, decision.differences, num_resamples=NUM_RESAMPLES)
            connect().log_artifact(version.run_id, str(page), _page_folder(version))
        write_json(out / "version.json", described)
        # What DVC compares: the same in every clone, whatever else its registry has.
        same = {key: described[key] for key in ("name", "fingerprint", metric)}
        write_json(out / "registered.json", same)
        return described

    def _restore_page(self, version: ModelVersion, page: Path) -> bool:
        """Write the page of the comparison that made the version champion, if MLflow has it."""
        for place in (_page_folder(version), PAGE_FOLDER):  # earlier commits had one for a run
            with tempfile.TemporaryDirectory() as folder:
                kept = run_artifact(version.run_id, f"{place}/{PAGE}", Path(folder))
                if kept is not None:
                    write_bytes(page, kept.read_bytes())
                    return True
        return False


def _page_folder(version: ModelVersion) -> str:
    """Among the files of the run, from which several versions may come."""
    return f"{PAGE_FOLDER}/{version.name}_{version.version}"


def decided(settings: RegisterSettings, files: ModelFiles) -> RegisterSettings:
    """The settings with the metric that decides the model's task, unless they name another."""
    if settings.metric != "auto":
        return settings
    task_class = files.config["task"].get("_target_", "").rpartition(".")[2]
    metric = find_task(files.categories, task_class).metric
    return dataclasses.replace(settings, metric=metric)


def _present(params: Mapping[str, str], name: str) -> list[str]:
    return [params[name]] if name in params else []


def runtime_sources(files: ModelFiles) -> dict[str, Path]:
    """Path within the package -> file, of the code that a registered model needs to predict."""
    parts = [files.config["task"]["postprocess"], files.prediction.as_dict()]
    modules = {RUNTIME} | target_modules(parts)
    return source_files(import_closure(modules))
