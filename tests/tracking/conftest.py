import mlflow
import pytest

from maskmill.tracking.store import connect


@pytest.fixture(scope="session")
def database(tmp_path_factory):
    """A migrated MLflow database, which takes seconds to create."""
    folder = tmp_path_factory.mktemp("mlflow")
    mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").search_experiments()
    return folder / "mlflow.db"


@pytest.fixture
def store(tmp_path, monkeypatch, database):
    """A client of a store that only this test uses."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    (tmp_path / "mlflow.db").write_bytes(database.read_bytes())
    yield connect()
    mlflow.set_tracking_uri(None)
