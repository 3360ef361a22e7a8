"""The run of a model: an evaluation among its files, or a run for an ensemble."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from mlflow.entities import Run

from maskmill.canonical.files import write_text
from maskmill.reporting.evaluation_folder import REPORT
from maskmill.reporting.origin import with_run
from maskmill.serving.model_files import ModelFiles
from maskmill.tracking.ensemble_run import add_ensemble_run
from maskmill.tracking.lineage import log_evaluation

COMMIT_TAGS = ("git_commit", "mlflow.source.git.commit")


def add_evaluation(
    run: Run,
    key: str,
    out: Path,
    metrics: Mapping[str, float],
    bounds: Mapping[str, Sequence[float]],
) -> None:
    """Add an evaluation to the run of the model, see `log_evaluation`; its report names the run.

    The report in `out` does not: its bytes are the same in every clone, and a run is not.
    """
    with tempfile.TemporaryDirectory(prefix="maskmill-") as name:
        folder = Path(shutil.copytree(out, Path(name) / "evaluate"))
        report = folder / REPORT
        if report.is_file():
            write_text(report, with_run(report.read_text(encoding="utf-8"), run_facts(run)))
        log_evaluation(run, key, folder, metrics, bounds)


def add_ensemble(model: ModelFiles) -> Run:
    """The run of an ensemble, which is added if there is none; see `add_ensemble_run`."""
    return add_ensemble_run(
        model.fingerprint,
        members=model.members,
        weights=model.weights_digest(),
        data=model.data_digest,
    )


def run_facts(run: Run) -> dict[str, str]:
    """Name, commit and date of a run, as far as they are known."""
    started = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    commits = [run.data.tags[tag] for tag in COMMIT_TAGS if tag in run.data.tags]
    return {
        "run": f"{run.info.run_name} ({run.info.run_id})",
        "commit": commits[0] if commits else "not known",
        "trained": f"{started:%Y-%m-%d %H:%M} UTC",
    }
