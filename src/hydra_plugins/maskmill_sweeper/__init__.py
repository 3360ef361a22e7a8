"""`hydra/sweeper=optuna`: a search with Optuna. Hydra finds its plugins in `hydra_plugins`.

Hydra imports this module at the start of every command, so it imports Optuna only to search.
"""

import logging
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

log = logging.getLogger(__name__)


class OptunaSweeper(Sweeper):
    """Trains the settings that Optuna proposes; a study that was killed resumes.

    Args:
        settings: the other values of conf/hydra/sweeper/optuna.yaml, see
            `maskmill.assembly.search.SearchSettings`.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.hydra_context: HydraContext | None = None
        self.config: DictConfig | None = None
        self.launcher: Launcher | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Receive what runs the jobs."""
        self.hydra_context = hydra_context
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Search, and return the results of the jobs.

        Raises:
            JobError: a setting is wrong or a trial failed, which has been reported.
        """
        from maskmill.assembly.launched_job import JobError

        try:
            from maskmill.assembly.search import Search  # optuna takes a second to import

            return Search(self).run(arguments)
        except JobError:
            raise
        except (ValueError, OSError) as error:
            log.error("%s", error)
            raise JobError(str(error)) from error
