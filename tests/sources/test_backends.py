import importlib.util

import joblib
import pytest

from maskmill.sources.backends import parallel


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing", "sequential"])
def test_results_come_in_the_order_of_the_jobs(backend):
    with parallel(backend, 2) as pool:
        assert list(pool(joblib.delayed(divmod)(number, 7) for number in range(20))) == [divmod(number, 7) for number in range(20)]


def test_an_unknown_backend_is_refused():
    with pytest.raises(ValueError, match=r"Expected prepare\.backend to be one of loky, .* but got 'spark'"), parallel("spark", 1):
        pass


@pytest.mark.parametrize(("backend", "package"), [("dask", "distributed"), ("ray", "ray")])
def test_a_backend_whose_package_is_missing_says_what_to_install(backend, package):
    if importlib.util.find_spec(package):
        pytest.skip(f"{package} is installed here")
    with pytest.raises(ValueError, match=f"but it is missing - pip install {package}"), parallel(backend, 1):
        pass
