"""What all tests share: the hypothesis profile, the repository's folder, and third-party data."""

import atexit
import gc
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

from commands import server_folder, start_server
from maskmill.assembly.lean_defaults import list_choices_where_needed
from maskmill.training.silenced_warnings import SILENCED_WARNINGS

# Hypothesis' limit of 200 ms per example measures how busy the machine is, not the code. It draws
# other examples in each run of the suite; HYPOTHESIS_PROFILE=campaign draws many at once.
settings.register_profile("suite", deadline=None, max_examples=30)
settings.register_profile("campaign", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))

REPOSITORY = Path(__file__).parents[1]
# Modules of more than a minute on one of two processes, the longest first.
LONGEST = ("test_repro", "test_train", "test_zoo", "test_sweep", "test_train_sharded")


MEMORY = Path("/dev/shm")
MEMORY_OF_FILES = 6 * 2**30  # bytes that must be free


def folder_in_memory() -> str | None:
    """A folder in memory, until this process ends; None if there is too little.

    Each commit of MLflow's database waits for the disk, up to 24 ms; a registration makes a
    hundred. `--basetemp FOLDER` keeps what the tests write.
    """
    if not MEMORY.is_dir():
        return None
    status = os.statvfs(MEMORY)
    runs_programs = not status.f_flag & os.ST_NOEXEC
    if not runs_programs or status.f_bavail * status.f_frsize < MEMORY_OF_FILES:
        return None
    folder = tempfile.mkdtemp(prefix="mm-", dir=MEMORY)  # short: sockets have short names
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@pytest.hookimpl(tryfirst=True)  # before pytest chooses its temporary folder
def pytest_configure(config: pytest.Config) -> None:
    """Ignore the warnings that a training ignores too; share a server among all processes."""
    if config.option.basetemp is None:
        config.option.basetemp = folder_in_memory()
    gc.disable()  # until the tests: a fifth of the time to import them, which leaves no garbage
    server_folder()
    list_choices_where_needed()  # as in each command: many tests compose
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # in the background of a shell
        signal.signal(signal.SIGINT, signal.default_int_handler)  # some tests interrupt commands
    if getattr(config.option, "numprocesses", None):
        start_server()  # beside the collection; it inherits what happens at SIGINT
    for pattern in SILENCED_WARNINGS:
        config.addinivalue_line("filterwarnings", f"ignore:{pattern}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest modules first, so that no process is left with one at the end."""
    slow_modules = {item.path for item in items if item.get_closest_marker("slow")}

    def order(item: pytest.Item) -> int:
        if item.path.stem in LONGEST:
            return LONGEST.index(item.path.stem)
        return len(LONGEST) + int(item.path not in slow_modules)

    items.sort(key=order)


def pytest_collection_finish() -> None:
    """Keep the garbage collector from visiting the imported libraries in each collection."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def third_party_data() -> Path:
    """The folder of public data sets, which are not part of the repository."""
    folder = os.environ.get("MASKMILL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs public data sets: set MASKMILL_DATA to their folder (CONTRIBUTING.md)")
    return Path(folder)


@pytest.fixture(scope="session")
def database(tmp_path_factory):
    """A migrated MLflow database, which takes seconds to create; that of the server, if it runs."""
    if (server_folder() / "socket").exists():
        return server_folder() / "mlflow.db"
    import mlflow  # seconds to import, which few tests need

    folder = tmp_path_factory.mktemp("mlflow")
    mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").search_experiments()
    return folder / "mlflow.db"


@pytest.fixture
def store(tmp_path, monkeypatch, database):
    """A client of a store that only this test uses."""
    import mlflow

    from maskmill.tracking.store import connect

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    (tmp_path / "mlflow.db").write_bytes(database.read_bytes())
    yield connect()
    mlflow.set_tracking_uri(None)
