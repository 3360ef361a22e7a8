"""`hydra/launcher=slurm` and `submitit`: jobs by submitit. Hydra finds its plugins here.

A launcher of our own, not hydra-submitit-launcher: at the first job that SLURM cancels, release
1.2.0 stops waiting for the others, and it cannot give submitit another Python command. Ours lets
jobs on this machine be forked from the server of the sweep. Hydra imports this module at the start
of every command.
"""

import importlib
import logging
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from omegaconf import OmegaConf

from maskmill.assembly.job_launcher import JobLauncher
from maskmill.assembly.launched_job import Jobs, SubmissionError

log = logging.getLogger(__name__)

LOCAL = "local"
POLL_S = {LOCAL: 0.01, "slurm": 1.0}
# Parameters that have the same name for all of submitit's clusters
SHARED = {"name", "timeout_min", "nodes", "tasks_per_node", "cpus_per_task", "gpus_per_node"}
SHARED |= {"mem_gb", "stderr_to_stdout"}
# What submitit raises where it finds no SLURM, or for a value that it or SLURM refuses
REFUSALS = (RuntimeError, ValueError, TypeError, NameError, AssertionError, OSError)


class SubmititLauncher(JobLauncher):
    """Submits the jobs of a sweep and waits for all of them.

    Args:
        cluster: `slurm`, or `local`: processes of this machine.
        submitit_folder: for scripts, output and results of each job; `%j` is its id.
        max_num_timeout: how often a job that reaches its time limit is submitted again.
        num_jobs: jobs at the same time on this machine; None: all. SLURM has `array_parallelism`.
        parameters: of submitit's executor, without the name of the cluster as a prefix.
    """

    def __init__(
        self,
        cluster: str,
        submitit_folder: str,
        max_num_timeout: int = 0,
        num_jobs: int | None = None,
        **parameters: Any,
    ) -> None:
        self.cluster = cluster
        self.folder = submitit_folder
        self.max_num_timeout = max_num_timeout
        self.num_jobs = num_jobs
        self.parameters = {key: _plain(value) for key, value in parameters.items()}

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run the jobs and wait for all of them; one that was cancelled or killed has failed."""
        state = Singleton.get_state()
        calls = []
        for number, overrides in enumerate(job_overrides, start=initial_job_idx):
            calls.append(SubmittedJob(self.jobs, list(overrides), number, state))
        # SLURM gets one array, which it limits itself.
        arrays = [[call] for call in calls] if self.cluster == LOCAL else [calls]
        submitted = list[Any]()
        try:
            for array in arrays:
                self._wait_for_room(submitted)
                submitted += self._submit(array)
            return [self._outcome(job, call) for job, call in zip(submitted, calls, strict=True)]
        except BaseException:
            self._leave(submitted)
            raise

    def _wait_for_room(self, submitted: Sequence[Any]) -> None:
        while self.num_jobs and sum(not _has_ended(job) for job in submitted) >= self.num_jobs:
            self._poll()

    def _submit(self, calls: Sequence["SubmittedJob"]) -> Sequence[Any]:
        try:
            Path(self.jobs.config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
            with _ctrl_c_ignored():  # also by submitit's process, which would print a traceback
                jobs: Sequence[Any] = self._executor().submit_array(list(calls))
        except REFUSALS as error:
            reason = str(error).strip().partition("\n")[0]
            log.error(
                "the jobs were not submitted: %s - give the command where %s runs, or correct "
                "hydra.launcher",
                reason,
                self.cluster,
            )
            raise SubmissionError(reason) from error
        log.info("%s: %s", self.cluster, ", ".join(job.job_id for job in jobs))
        return jobs

    def _executor(self) -> Any:
        submitit: Any = importlib.import_module("submitit")
        own: dict[str, Any] = {f"{self.cluster}_max_num_timeout": self.max_num_timeout}
        if self.cluster == LOCAL:
            own["local_python"] = _forking_python()
        executor = submitit.AutoExecutor(self.folder, cluster=self.cluster, **own)
        named = {}
        for key, value in self.parameters.items():
            named[key if key in SHARED else f"{self.cluster}_{key}"] = value
        executor.update_parameters(**named)
        return executor

    def _outcome(self, job: Any, call: "SubmittedJob") -> JobReturn:
        while not _has_ended(job):
            self._poll()
        reason = f"see {job.paths.stderr}"
        if self.cluster != LOCAL:
            reason = f"{job.state}, {reason}"  # as SLURM calls it
        # On a cluster, submitit waits for the file, which a shared drive may show late.
        if self.cluster != LOCAL or job.paths.result_pickle.exists():
            submitit: Any = importlib.import_module("submitit")
            unfinished: Any = submitit.core.utils.UncompletedJobError
            try:
                result: JobReturn = job.results()[0]
            except Exception:  # there is none, or the pickle of an error cannot be read
                log.debug("", exc_info=True)
            else:
                ended_by = result._return_value
                if not isinstance(ended_by, unfinished):
                    return result
                reason = str(ended_by)  # its time limit, once too often
        return self.lost(call.overrides, call.number, reason)

    def _leave(self, jobs: Sequence[Any]) -> None:
        """End the jobs of this machine; those of a cluster run on."""
        if self.cluster == LOCAL:
            for job in jobs:
                _kill_children(int(job.job_id))
        elif jobs:
            ids = sorted({job.job_id.partition("_")[0] for job in jobs})
            log.warning("the jobs run on: scancel %s ends them", " ".join(ids))

    def _poll(self) -> None:
        time.sleep(POLL_S.get(self.cluster, 1.0))


@dataclass(frozen=True)
class SubmittedJob:
    """A job, which submitit pickles, also to submit it again at its time limit.

    Args:
        jobs: what they have in common.
        overrides: of the job.
        number: of the job.
        state: `Singleton.get_state()` of the process of the sweep.
    """

    jobs: Jobs
    overrides: list[str]
    number: int
    state: dict[Any, Any]

    def __call__(self) -> JobReturn:
        """Run the job in this process."""
        submitit: Any = importlib.import_module("submitit")
        job_id = submitit.JobEnvironment().job_id
        return self.jobs.run(self.overrides, self.number, job_id, self.state)

    def checkpoint(self) -> Any:
        """What submitit submits when the job has reached its time limit: this job again."""
        submitit: Any = importlib.import_module("submitit")
        return submitit.helpers.DelayedSubmission(self)


def _forking_python() -> str:
    """A program that runs submitit's module in a process of the sweep's fork server, if it has one.

    A Python of its own would import the libraries for each job, for more than six seconds.
    """
    from maskmill.assembly.sweep_record import SUBMITTED
    from maskmill.training import fork_client

    return shlex.join([sys.executable, "-I", "-S", fork_client.__file__, SUBMITTED])


def _has_ended(job: Any) -> bool:
    """Whether a job has left its result, after which its own processes take a moment to end."""
    return bool(job.paths.result_pickle.exists() or job.done())


@contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _kill_children(pid: int) -> None:
    psutil: Any = importlib.import_module("psutil")
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.kill()


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
