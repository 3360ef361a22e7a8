"""What Hydra calls at the start of a sweep of trainings and at the end of each of its jobs."""

import importlib.util
import logging
import signal
import sys
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from maskmill.assembly.command_end import AT_THE_END
from maskmill.assembly.job_record import JobRecord, write_job
from maskmill.assembly.sweep_record import read_sweep
from maskmill.training.launching import EXIT_SIGTERM

log = logging.getLogger(__name__)

COMMAND = "train"
EXTRAS = {"hydra_plugins.hydra_submitit_launcher": "slurm"}  # joblib's brings its own choice
# Class of a task -> its `monitor`, which cannot be imported without torch.
MONITORED = {
    "SemanticTask": "val/mIoU",
    "InstanceTask": "val/PQ/thing",
    "PanopticTask": "val/PQ",
}
PRUNED = "TrialPruned"  # Optuna's exception


class SweepCallback(Callback):
    """Gives a sweep of trainings a run in MLflow, and keeps how each job ended.

    Other commands are left alone. Hydra turns an exception of a callback into a warning, so what
    must stop the sweep ends the program.
    """

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Find or make the folder and the MLflow run of the sweep."""
        if config.hydra.job.name != COMMAND:
            return
        from maskmill.assembly.sweep import Sweep  # MLflow takes seconds: not for other commands

        try:
            _require_plugin(config.hydra.launcher._target_)
            sweep = Sweep.begin(config)
        except (ValueError, OSError) as error:
            log.error("%s", error)
            sys.exit(1)
        AT_THE_END.push(sweep.end)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_SIGTERM))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """Keep what the job returned, or why it failed."""
        folder = Path(config.hydra.sweep.dir)
        sweep = read_sweep(folder)
        if config.hydra.job.name != COMMAND or sweep is None:
            return
        result = job_return._return_value
        # Of several objectives, the first ranks the jobs.
        score = result[0] if isinstance(result, list | tuple) else result
        status, error = "FINISHED", None
        if job_return.status != JobStatus.COMPLETED:
            status = "PRUNED" if type(result).__name__ == PRUNED else "FAILED"
            score, error = None, f"{result}"
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
        write_job(Path(config.hydra.runtime.output_dir), record)


def _require_plugin(target: str) -> None:
    """Say which extra a launcher needs.

    Raises:
        ValueError: its package is not installed.
    """
    package = ".".join(target.split(".")[:2])
    if package in EXTRAS and importlib.util.find_spec(package) is None:
        raise ValueError(
            f"hydra/launcher: expected the package {package}, but it is not installed - run pip "
            f"install 'maskmill[{EXTRAS[package]}]'"
        )
