"""Backends of parallel work: joblib's own, and those of packages that must be started first."""

import importlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")

JOBLIB_BACKENDS = ("loky", "threading", "multiprocessing", "sequential")
OTHER_BACKENDS = {"dask": "distributed", "ray": "ray.util.joblib"}  # backend -> its module


@contextmanager
def parallel(backend: str, workers: int) -> Iterator[Any]:
    """A joblib.Parallel whose backend is running.

    Dask connects to the cluster in DASK_SCHEDULER_ADDRESS and Ray to the one in RAY_ADDRESS.
    Without these, both start a cluster on this machine. The machines of a cluster must share the
    file system.

    Raises:
        ValueError: the backend is unknown, or its package is not installed.
        OSError: a worker process was killed.
    """
    import joblib

    if backend not in JOBLIB_BACKENDS and backend not in OTHER_BACKENDS:
        known = ", ".join((*JOBLIB_BACKENDS, *OTHER_BACKENDS))
        raise ValueError(
            f"Expected prepare.backend to be one of {known}, but got {backend!r} - "
            "check conf/prepare"
        )
    if backend == "dask":
        dask = _import(backend)
        logging.getLogger("distributed").setLevel(logging.WARNING)  # 40 lines of each start and end
        with (
            dask.Client(),
            joblib.parallel_config(backend),
            joblib.Parallel(n_jobs=workers) as pool,
        ):
            yield pool
        return
    if backend == "ray":
        _import(backend).register_ray()
        ray = importlib.import_module("ray")
        ray.init(logging_level=logging.ERROR, ignore_reinit_error=True)
    try:
        settings = in_this_folder() if backend == "loky" else {}
        with joblib.parallel_config(backend, **settings), joblib.Parallel(n_jobs=workers) as pool:
            yield pool
    except BrokenProcessPool as error:
        raise OSError(
            "Expected worker processes that run to their end, but the system killed one, most "
            "likely because memory was short - set prepare.workers to a smaller number"
        ) from error


def num_workers(workers: int) -> int:
    """The number of processes that joblib makes of `workers`, where -1 is one per core."""
    if workers == 1:  # joblib takes as long to import as 20 images to score
        return 1
    import joblib

    return int(joblib.effective_n_jobs(workers))


def results_in_order(calls: Iterable[Callable[[], Result]], workers: int) -> Iterator[Result]:
    """The results of some calls in their order.

    Args:
        calls: processes can receive them.
        workers: processes; with one, this process does the calls itself.
    """
    if workers == 1:
        return (call() for call in calls)
    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=workers, return_as="generator", **in_this_folder())
    results: Iterator[Result] = parallel(delayed(call)() for call in calls)
    return results


def in_this_folder() -> dict[str, Any]:
    """Arguments of joblib.Parallel, whose processes outlive it and a change of the folder.

    Paths are relative, and a notebook may call maskmill in one project after another.
    """
    return {"initializer": os.chdir, "initargs": (str(Path.cwd()),)}


def _import(backend: str) -> Any:
    module = OTHER_BACKENDS[backend]
    package = module.split(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != package:
            raise
        raise ValueError(
            f"Expected the package {package} for prepare.backend={backend}, but it is missing - "
            f"pip install 'maskmill[{backend}]'"
        ) from error
