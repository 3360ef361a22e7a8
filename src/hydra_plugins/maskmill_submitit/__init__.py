"""`hydra/launcher=submitit_local` for trainings: its jobs are forked from the server of the sweep.

The launcher of hydra-submitit-launcher starts a Python for each job, which imports the libraries:
more than six seconds. submitit can be given another Python, its launcher cannot. Hydra imports this
module at the start of every command.
"""

import importlib
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn

POLL_S = 0.01

try:
    from hydra_plugins.hydra_submitit_launcher.submitit_launcher import LocalLauncher
except ImportError:  # an extra; without it, nobody can choose the launcher
    pass
else:

    class ForkingLauncher(LocalLauncher):
        """Submits each job to this machine, as a process that the sweep's server forks."""

        def launch(
            self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
        ) -> Sequence[JobReturn]:
            """Run the jobs at the same time and wait for all of them."""
            from maskmill.assembly.sweep_record import SUBMITTED
            from maskmill.training import fork_client

            submitit: Any = importlib.import_module("submitit")
            assert self.config is not None
            params = dict(self.params)
            folder = params.pop("submitit_folder")
            Path(self.config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
            python = shlex.join([sys.executable, "-I", "-S", fork_client.__file__, SUBMITTED])
            executor = submitit.AutoExecutor(folder, cluster="local", local_python=python)
            executor.update_parameters(**params)
            state = Singleton.get_state()
            jobs = []
            for number, overrides in enumerate(job_overrides, start=initial_job_idx):
                job_id = f"job_id_for_{number}"
                arguments = (list(overrides), "hydra.sweep.dir", number, job_id, state)
                jobs.append(executor.submit(self, *arguments))
            for job in jobs:
                while not job.done():  # `results` looks once a second
                    time.sleep(POLL_S)
            return [job.results()[0] for job in jobs]
