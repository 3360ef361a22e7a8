"""A job of a multirun in a process that our launchers start: on Ray, by submitit, under SLURM."""

from dataclasses import dataclass
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict


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
        config = self.composed(overrides, number)
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

    def composed(self, overrides: list[str], number: int) -> DictConfig:
        """The configuration of one of them."""
        config: DictConfig = self.context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(config):
            config.hydra.job.num = number
        return config
