"""Where parallel work runs: joblib's backends, and those of other packages that must be started first."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import joblib

OWN = ("loky", "threading", "multiprocessing", "sequential")
FOREIGN = {"dask": "distributed", "ray": "ray.util.joblib"}  # backend -> module that brings it


@contextmanager
def parallel(backend: str, workers: int) -> Iterator[Any]:
    """A joblib.Parallel on a backend that is ready inside a `with`.

    Dask joins the cluster that DASK_SCHEDULER_ADDRESS names, Ray the one of RAY_ADDRESS; without, each starts one on this machine.
    The machines of a cluster must share the file system.

    Raises:
        ValueError: there is no such backend, or its package is not installed.
    """
    if backend not in OWN and backend not in FOREIGN:
        raise ValueError(
            f"Expected prepare.backend to be one of {', '.join((*OWN, *FOREIGN))}, but got {backend!r} - mend conf/prepare"
        )
    if backend == "dask":
        with (
            _import(backend).Client(),
            joblib.parallel_config(backend),
            joblib.Parallel(n_jobs=workers) as pool,
        ):
            yield pool
        return
    if backend == "ray":
        _import(backend).register_ray()
    with joblib.parallel_config(backend), joblib.Parallel(n_jobs=workers) as pool:
        yield pool


def _import(backend: str) -> Any:
    package = FOREIGN[backend].split(".")[0]
    try:
        return importlib.import_module(FOREIGN[backend])
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != package:
            raise
        raise ValueError(
            f"Expected the package {package} for prepare.backend={backend}, but it is missing - pip install 'maskmill[{backend}]'"
        ) from error
