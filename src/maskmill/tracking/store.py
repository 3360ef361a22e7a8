"""Where MLflow keeps runs: mlflow.db and mlruns/ at the repository root, which a bare `mlflow ui` there shows."""

import os
from pathlib import Path

import mlflow

KIND = {
    "mlflow.experimentKind": "custom_model_development"
}  # opens with runs and curves, not with traces of language models


def repository_root() -> Path:
    """The repository whose runs these are: DVC's root also inside a temporary experiment folder, else where the command runs."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


def own_uri() -> str:
    """The SQLite file at the repository root."""
    return f"sqlite:///{repository_root() / 'mlflow.db'}"


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI where it is set, else the repository's own store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or own_uri()


def connect() -> mlflow.MlflowClient:
    """Point MLflow at the store and return a client of it."""
    mlflow.set_tracking_uri(tracking_uri())
    return mlflow.MlflowClient()


def experiment_id(name: str) -> str:
    """The experiment of this name, made where it is new, with its artifacts under mlruns/ of the repository.

    Args:
        name: of the experiment.

    Returns:
        its id.
    """
    client = connect()
    experiment = client.get_experiment_by_name(name)
    if experiment is not None:
        return str(experiment.experiment_id)
    # A server knows its own place. The URIs are compared since MLflow itself sets the variable in `set_tracking_uri`.
    location = str(repository_root() / "mlruns" / name) if tracking_uri() == own_uri() else None
    return str(client.create_experiment(name, artifact_location=location, tags=KIND))
