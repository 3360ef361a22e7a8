"""A registered version is trained again, and its weights are compared."""

import logging
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import mlflow
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from maskmill.assembly.hardware import ENVIRONMENT_TAG, THREADS, differences, environment
from maskmill.assembly.registry_settings import ReproduceSettings
from maskmill.assembly.worktree import changed_modules, restore_data, run, worktree
from maskmill.canonical.files import parse_json
from maskmill.canonical.yaml_file import read_yaml
from maskmill.serving.model_files import read_model
from maskmill.tracking.address import repository_root
from maskmill.tracking.ensemble_run import MEMBERS_TAG
from maskmill.tracking.lineage import WEIGHTS_TAG
from maskmill.tracking.models import keep_facts, version_of
from maskmill.tracking.runs import CONFIG_FILE
from maskmill.tracking.store import connect

log = logging.getLogger(__name__)

REPRODUCED_TAG = "maskmill.reproduced"
CHANGES = "+changes"  # how a commit ends whose tree had uncommitted changes


@dataclass(frozen=True)
class Reproduction:
    """The result of training a version again.

    Args:
        expected: sha256 of the version's weights.
        found: of those that were trained now.
        reasons: why they may differ.
    """

    expected: str
    found: str
    reasons: list[str]

    @property
    def is_same(self) -> bool:
        """Are the weights the same, bit by bit?"""
        return self.expected == self.found


def reproduce(settings: ReproduceSettings) -> Reproduction:
    """Train a version again from its commit, data and configuration.

    Raises:
        ValueError: the registry has no such version, nothing here recorded how it was trained, or
            its commit, code or data are not here.
    """
    version = version_of(settings.model)
    trained = _training_run(version)
    tags = trained.data.tags
    commit = tags["git_commit"].removesuffix(CHANGES)
    root = repository_root()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = _configuration(version, folder)
        config = read_yaml(path)
        with worktree(root, commit, folder / "worktree") as project:
            _require_same_code(version, project, config.get("code", {}))
            data = str(config["train"]["data"])
            if "://" not in data:
                restore_data(root, project, Path(data), tags["data_hash"])
            log.info("training %s again at commit %s", settings.model, commit[:12])
            out = settings.out.absolute()
            overrides = [f"train.out={out}", f"train.state={folder}/state"]
            _train(project, path, overrides, _recorded_environment(trained))
    found = read_model(settings.out).weights_digest()
    now = environment() | {THREADS: _recorded_environment(trained).get(THREADS, "")}
    reasons = differences(_recorded_environment(trained), now)
    result = Reproduction(tags[WEIGHTS_TAG], found, reasons)
    time = datetime.now(UTC).isoformat(timespec="seconds")
    verdict = "the same weights" if result.is_same else f"other weights, {found}"
    keep_facts(version, {REPRODUCED_TAG: f"{time}: {verdict}"})
    return result


def _training_run(version: ModelVersion) -> Run:
    """The run that trained a version, with what `reproduce` needs."""
    trained = connect().get_run(version.run_id)
    tags = trained.data.tags
    if MEMBERS_TAG in tags:
        members = ", ".join(member[:12] for member in tags[MEMBERS_TAG].split())
        raise ValueError(
            f"models:/{version.name}/{version.version}: expected a model that was trained, but it "
            f"is an ensemble - reproduce its models ({members}), then run `maskmill ensemble`"
        )
    missing = {"git_commit", "data_hash", WEIGHTS_TAG} - tags.keys()
    if missing or tags["git_commit"] == "unknown":
        raise ValueError(
            f"models:/{version.name}/{version.version}: expected a run that recorded commit, data "
            f"and weights, but run {version.run_id} did not: the model was restored from DVC's "
            "cache, or trained outside of a git repository - reproduce it where it was trained"
        )
    return trained


def _configuration(version: ModelVersion, folder: Path) -> Path:
    """The file with the resolved configuration of the training, in the folder."""
    try:
        path = mlflow.artifacts.download_artifacts(
            run_id=version.run_id, artifact_path=CONFIG_FILE, dst_path=str(folder)
        )
    except (MlflowException, OSError) as error:
        raise ValueError(
            f"models:/{version.name}/{version.version}: expected {CONFIG_FILE} among the files of "
            f"run {version.run_id}, but there is none: an earlier version of maskmill trained it - "
            "check out its commit and train there"
        ) from error
    return Path(path)


def _require_same_code(version: ModelVersion, project: Path, code: Mapping[str, str]) -> None:
    changed = changed_modules(project, code)
    if changed:
        commit = version.tags.get("git_commit", "")
        why = (
            "the tree had uncommitted changes when it was trained"
            if commit.endswith(CHANGES)
            else "another version of maskmill trained it"
        )
        raise ValueError(
            f"models:/{version.name}/{version.version}: expected the code that trained it at "
            f"commit {commit}, but {len(changed)} modules differ, first {changed[0]}: {why} - "
            "commit changes before training, or install that version"
        )


def _recorded_environment(trained: Run) -> dict[str, str]:
    return dict(parse_json(trained.data.tags.get(ENVIRONMENT_TAG, "{}"), ENVIRONMENT_TAG))


def _train(project: Path, path: Path, overrides: list[str], recorded: Mapping[str, str]) -> None:
    """Train as the pipeline does, with its output on the terminal and a tracking store of its own.

    The number of threads is the one of that time, since sums depend on it.
    """
    command = [sys.executable, "-m", "maskmill.stages.train"]
    command += ["--config-dir", str(path.parent), "--config-name", path.stem, *overrides]
    variables = {"MLFLOW_TRACKING_URI": f"sqlite:///{path.parent}/mlflow.db"}
    if THREADS in recorded:
        variables["OMP_NUM_THREADS"] = recorded[THREADS]
    done = run(command, project, check=False, shown=True, variables=variables)
    if done.returncode:
        raise ValueError("Expected the training to finish, but it failed - see its messages above")
