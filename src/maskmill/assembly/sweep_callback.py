"""What Hydra calls at the start of a sweep of trainings and at the end of each of its jobs."""

import importlib.util
import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from maskmill.assembly.command_end import AT_THE_END
from maskmill.assembly.job_record import JobRecord, write_job
from maskmill.assembly.sweep_record import read_sweep
from maskmill.training.launching import EXIT_SIGTERM

if TYPE_CHECKING:
    from maskmill.assembly.search_trial import SearchTrial

log = logging.getLogger(__name__)

COMMAND = "train"
SEARCH = "hydra_plugins.maskmill_sweeper"
# Package of a launcher or sweeper -> what it imports, and the extra that installs that.
NEEDED = {
    "hydra_plugins.maskmill_submitit": ("submitit", "slurm"),
    "hydra_plugins.maskmill_ray": ("ray", "ray"),
    SEARCH: ("optuna", "optuna"),
}
# Class of a task -> its `monitor`, which cannot be imported without torch.
MONITORED = {
    "SemanticTask": "val/mIoU",
    "InstanceTask": "val/PQ/thing",
    "PanopticTask": "val/PQ",
}


class SweepCallback(Callback):
    """Gives a sweep of trainings a run in MLflow, and keeps how each job ended.

    Of other commands it checks the launcher alone. Hydra turns an exception of a callback into a
    warning, so what must stop the sweep ends the program.
    """

    def __init__(self) -> None:
        self.trial: SearchTrial | None = None

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Find or make the folder and the MLflow run of the sweep."""
        try:
            for part in ("launcher", "sweeper"):
                require_package(part, config.hydra[part]._target_)
            if config.hydra.job.name != COMMAND:
                return
            from maskmill.assembly.sweep import Sweep  # MLflow takes seconds

            sweep = Sweep.begin(config)
        except (ValueError, OSError) as error:
            log.error("%s", error)
            sys.exit(1)
        AT_THE_END.push(sweep.end)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_SIGTERM))

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        """Let the processes of a job of a search report to its study."""
        is_job = config.hydra.mode == RunMode.MULTIRUN and config.hydra.job.name == COMMAND
        if is_job and config.hydra.sweeper._target_.startswith(SEARCH):
            from maskmill.assembly.search_trial import SearchTrial  # optuna is an extra

            self.trial = SearchTrial.begin(config.hydra)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """Keep what the job returned, or why it failed."""
        is_pruned = self.trial is not None and self.trial.end()
        result = job_return._return_value
        # Of several objectives, the first ranks the jobs.
        score = result[0] if isinstance(result, (list, tuple)) else result
        status, error = "FINISHED", None
        if job_return.status != JobStatus.COMPLETED:
            status, score, error = "FAILED", None, f"{result}"
        elif is_pruned:
            status, score = "PRUNED", None
        keep_job(config, Path(config.hydra.runtime.output_dir), status, score=score, error=error)


def keep_job(
    config: DictConfig,
    folder: Path,
    status: str,
    *,
    score: float | None = None,
    error: str | None = None,
) -> None:
    """Write the record of a job of a sweep of trainings; of other commands nothing.

    Args:
        config: of the job.
        folder: of the job.
        status: FINISHED, FAILED or PRUNED.
        score: what the job returned.
        error: why it failed.
    """
    sweep = read_sweep(Path(config.hydra.sweep.dir))
    if config.hydra.job.name != COMMAND or sweep is None:
        return
    overrides = list(config.hydra.overrides.task)
    record = JobRecord(
        job=config.hydra.job.num,
        overrides=overrides,
        own=sweep.own_overrides(overrides),
        status=status,
        metric=MONITORED.get(config.task._target_.rpartition(".")[2], "score"),
        score=score,
        error=error,
        choices=dict(config.hydra.runtime.choices),
    )
    write_job(folder, record)


def require_package(part: str, target: str) -> None:
    """Say which extra a launcher or sweeper needs.

    Args:
        part: `launcher` or `sweeper`.
        target: its class.

    Raises:
        ValueError: its package is not installed.
    """
    plugin = ".".join(target.split(".")[:2])
    package, extra = NEEDED.get(plugin, ("", ""))
    if package and importlib.util.find_spec(package) is None:
        raise ValueError(
            f"hydra/{part}: expected the package {package}, but it is not installed - run pip "
            f"install 'maskmill[{extra}]'"
        )
