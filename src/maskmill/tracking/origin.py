"""lineage.yaml: which MLflow run trained a model, at which commit, for clones that did not train.

DVC's cache carries a model to another clone, where MLflow may know no run of it. A run id cannot be
part of a pipeline's output, since it differs from training to training. So the file is beside
dvc.lock under version control, and a model that it has is not added again: where the same model is
trained a second time, git sees no change.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import yaml

from maskmill.canonical.files import write_text
from maskmill.canonical.yaml_file import read_yaml

LINEAGE = Path("lineage.yaml")
ABOUT = """# Which MLflow run trained each model of dvc.lock, and at which commit; commit both files
# together. `dvc repro` adds the models that it trains, and a clone that pulls one finds its origin.
"""
RUN_TAG = "trained_by_run"  # of a version, and of a run for a model that was trained elsewhere
COMMIT_TAG = "git_commit"
EXPERIMENT_TAG = "dvc_experiment"
ORIGIN_TAGS = (RUN_TAG, COMMIT_TAG, EXPERIMENT_TAG)
WIDTH = 1000  # characters: a line per model, so that git merges models of two branches


@dataclass(frozen=True)
class Origin:
    """Where a model was trained.

    Args:
        run: id of the MLflow run.
        commit: of the code, see `git_commit`.
        experiment: name of the DVC experiment; None for `dvc repro`.
    """

    run: str
    commit: str
    experiment: str | None = None

    @property
    def tags(self) -> dict[str, str]:
        """The tags of the run that stands for it in a store that lacks the original."""
        tags = {RUN_TAG: self.run, COMMIT_TAG: self.commit}
        return tags | ({EXPERIMENT_TAG: self.experiment} if self.experiment else {})


def record_origin(fingerprint: str, origin: Origin, path: Path = LINEAGE) -> None:
    """Add a model that the pipeline trained to the file, unless the file has it.

    A training outside of `dvc repro` adds nothing: no other clone can pull its model.

    Args:
        fingerprint: of the model.
        origin: where it was trained.
        path: the file.

    Raises:
        ValueError: the file is damaged.
    """
    models = _read(path)
    if fingerprint in models or not is_pipeline():
        return
    facts = {"commit": origin.commit, "run": origin.run}
    if origin.experiment:
        facts["experiment"] = origin.experiment
    models[fingerprint] = facts
    lines = yaml.safe_dump(models, default_flow_style=None, width=WIDTH, allow_unicode=True)
    write_text(path, ABOUT + lines)


def is_pipeline() -> bool:
    """Does DVC run this process as a stage?"""
    return "DVC_STAGE" in os.environ


def known_origin(fingerprint: str, path: Path = LINEAGE) -> Origin | None:
    """Where a model was trained; None if the file does not have it.

    Raises:
        ValueError: the file is damaged.
    """
    facts = _read(path).get(fingerprint)
    return None if facts is None else Origin(facts["run"], facts["commit"], facts.get("experiment"))


def _read(path: Path) -> dict[str, dict[str, str]]:
    if not path.is_file():
        return {}
    content = read_yaml(path) or {}
    if not isinstance(content, dict) or not all(map(_is_origin, content.values())):
        raise ValueError(
            f"{path}: expected lines like `<model>: {{commit: <commit>, run: <run>}}`, but got "
            "other content - restore it with `git checkout` (after a merge, keep the lines of both "
            "sides)"
        )
    return content


def _is_origin(facts: object) -> bool:
    if not isinstance(facts, dict) or not {"commit", "run"} <= facts.keys():
        return False
    return all(isinstance(value, str) for value in facts.values())
