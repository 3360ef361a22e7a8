"""The jobs of a multirun in processes that our launchers start: on Ray, by submitit, under SLURM.

Hydra imports this module at the start of every command, so it imports the rest of maskmill only
when jobs run.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, filter_overrides, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

log = logging.getLogger(__name__)


class JobError(ValueError):
    """A job of a multirun ended with an error, which has been reported."""


class SubmissionError(JobError):
    """The jobs could not be submitted, which has been reported; none of them would."""


@dataclass(frozen=True)
class Jobs:
    """What the jobs of a multirun have in common.

    Args:
        context: loads the configuration.
        function: the command.
        config: of the multirun.
    """

    context: HydraContext
    function: TaskFunction
    config: DictConfig

    def run(
        self, overrides: list[str], number: int, job_id: str, state: dict[Any, Any]
    ) -> JobReturn:
        """Run one of them in this process.

        Args:
            overrides: of the job.
            number: of the job.
            job_id: name of the job for Ray or SLURM.
            state: `Singleton.get_state()` of the process of the multirun.
        """
        setup_globals()
        # Hydra would look for its plugins again; this process has perhaps found them before.
        state["instances"][Plugins] = Plugins.instance()
        Singleton.set_state(state)
        config = self._composed(overrides, number)
        with open_dict(config):
            config.hydra.job.id = job_id
        HydraConfig.instance().set_config(config)
        return run_job(
            hydra_context=self.context,
            config=config,
            task_function=self.function,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )

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
        config = self._composed(list(overrides), number)
        result = JobReturn(overrides=overrides, status=JobStatus.FAILED)
        result.return_value = JobError(message)
        keep_job(
            config, Path(config.hydra.sweep.dir, config.hydra.sweep.subdir), "FAILED", error=reason
        )
        return result

    def _composed(self, overrides: list[str], number: int) -> DictConfig:
        config: DictConfig = self.context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(config):
            config.hydra.job.num = number
        return config


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
