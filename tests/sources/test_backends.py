import logging
import sys

import joblib
import pytest

from maskmill.sources.backends import parallel
from maskmill.sources.convert import Converter
from maskmill.sources.scenes import Scenes, SceneSet


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing", "sequential"])
def test_results_come_in_the_order_of_the_jobs(backend):
    with parallel(backend, 2) as pool:
        jobs = [joblib.delayed(divmod)(number, 7) for number in range(20)]
        assert list(pool(jobs)) == [divmod(number, 7) for number in range(20)]


def test_an_unknown_backend_is_refused():
    with (
        pytest.raises(
            ValueError, match=r"Expected prepare\.backend to be one of loky, .* but got 'spark'"
        ),
        parallel("spark", 1),
    ):
        pass


@pytest.fixture
def raw(tmp_path):
    return SceneSet(tmp_path / "raw", num_train=3, num_val=1, num_test=1, seed=4).write().parent


def digest(raw, out, backend):
    return Converter(out, workers=2, backend=backend).convert(Scenes(raw))["digest"]


@pytest.mark.slow
def test_a_dask_cluster_converts_to_the_same_bytes_in_silence(raw, tmp_path, monkeypatch, caplog):
    distributed = pytest.importorskip("distributed", reason="pip install 'maskmill[dask]'")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", cluster.scheduler_address)
        caplog.set_level(logging.INFO, "distributed")  # as at its import
        caplog.clear()
        assert digest(raw, tmp_path / "dask", "dask") == digest(raw, tmp_path / "one", "sequential")
        loggers = [record.name.partition(".")[0] for record in caplog.records]
        assert "distributed" not in loggers


@pytest.mark.slow
def test_a_ray_cluster_converts_to_the_same_bytes(raw, tmp_path):
    ray = pytest.importorskip("ray", reason="pip install 'maskmill[ray]'")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        assert digest(raw, tmp_path / "ray", "ray") == digest(raw, tmp_path / "one", "sequential")
    finally:
        ray.shutdown()


@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_a_backend_whose_package_is_missing_says_what_to_install(backend, monkeypatch):
    module = {"dask": "distributed", "ray": "ray.util.joblib"}[backend]
    # None in sys.modules makes Python's import raise ModuleNotFoundError.
    monkeypatch.setitem(sys.modules, module.split(".")[0], None)
    monkeypatch.setitem(sys.modules, module, None)
    with (
        pytest.raises(
            ValueError, match=rf"but it is missing - pip install 'maskmill\[{backend}\]'"
        ),
        parallel(backend, 1),
    ):
        pass
