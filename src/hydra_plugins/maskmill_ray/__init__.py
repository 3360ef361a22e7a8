"""`hydra/launcher=ray`: the jobs of a sweep on Ray. Hydra finds its plugins in `hydra_plugins`.

A launcher of our own, not hydra-ray-launcher: its release 1.2.2 requires cloudpickle 2, and joblib
and MLflow use version 3 here. Hydra imports this module at the start of every command.
"""

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn

from maskmill.assembly.job_launcher import JobLauncher


class RayLauncher(JobLauncher):
    """Runs each job as a task of Ray, as soon as the resources that it asks for are free.

    Args:
        address: of a running cluster; None starts one on this machine, `auto` finds that of this
            machine.
        num_cpus: processor cores that a job asks for.
        num_gpus: GPUs that a job asks for, perhaps a fraction; it sees only these.
        num_jobs: jobs at the same time on a cluster that this command starts; None: as many as
            there are cores.
    """

    def __init__(
        self, address: str | None, num_cpus: float, num_gpus: float, num_jobs: int | None
    ) -> None:
        self.address = address
        self.num_cpus = num_cpus
        self.num_gpus = num_gpus
        self.num_jobs = num_jobs

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run the jobs and wait for all of them; one whose process dies has failed."""
        ray: Any = importlib.import_module("ray")  # takes seconds
        if not ray.is_initialized():
            cores = None if self.address else self._cores()
            ray.init(address=self.address, include_dashboard=False, num_cpus=cores)
        # A process is used for several jobs, so the libraries are imported once.
        task = ray.remote(_run).options(
            num_cpus=self.num_cpus, num_gpus=self.num_gpus, max_retries=0
        )
        jobs = ray.put(self.jobs)
        folder = str(Path.cwd())
        state = Singleton.get_state()
        waiting = []
        for number, overrides in enumerate(job_overrides, start=initial_job_idx):
            waiting.append(task.remote(jobs, folder, list(overrides), number, state))
        results = []
        for number, job in enumerate(waiting, start=initial_job_idx):
            try:
                results.append(ray.get(job))
            except ray.exceptions.RayError as error:
                overrides = job_overrides[number - initial_job_idx]
                results.append(self.lost(overrides, number, _reason(ray, error)))
        return results

    def _cores(self) -> float | None:
        return None if self.num_jobs is None else self.num_jobs * self.num_cpus


def _reason(ray: Any, error: Exception) -> str:
    lines = str(error).strip().splitlines()
    if isinstance(error, ray.exceptions.RayTaskError):
        lines = lines[-1:]  # of a traceback
    return " ".join(" ".join(lines).split())


def _run(jobs: Any, folder: str, overrides: list[str], number: int, state: Any) -> JobReturn:
    """A job, in a process of Ray."""
    os.chdir(folder)
    name = jobs.config.hydra.job.name
    result: JobReturn = jobs.run(overrides, number, f"{name}_{number}", state)
    return result
