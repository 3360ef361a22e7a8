"""What our launchers share. Not in `launched_job`, so that no training depends on it.

Hydra imports this module at the start of every command, so it imports more only for a lost job.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus, filter_overrides
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from maskmill.assembly.launched_job import JobError, Jobs

log = logging.getLogger(__name__)


class JobLauncher(Launcher):
    """A launcher whose jobs run in other processes."""

    _jobs: Jobs | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Receive what runs the jobs."""
        self._jobs = Jobs(hydra_context, task_function, config)

    @property
    def jobs(self) -> Jobs:
        """What the jobs have in common, from `setup` on."""
        assert self._jobs is not None
        return self._jobs

    def lost(self, overrides: Sequence[str], number: int, reason: str) -> JobReturn:
        """Report a job that has left no result, and keep it as failed.

        Args:
            overrides: of the job.
            number: of the job.
            reason: why, as far as known.
        """
        from maskmill.assembly.sweep_callback import keep_job

        shown = " ".join(filter_overrides(overrides))
        message = f"job {number} ({shown}) ended without a result: {reason}"
        log.error("%s - run the same command again to repeat the failed jobs alone", message)
        config = self.jobs.composed(list(overrides), number)
        result = JobReturn(overrides=overrides, status=JobStatus.FAILED)
        result.return_value = JobError(message)
        keep_job(
            config, Path(config.hydra.sweep.dir, config.hydra.sweep.subdir), "FAILED", error=reason
        )
        return result
