"""Where MLflow keeps runs: mlflow.db and mlruns/ at the repository root, as `mlflow ui` expects."""

import os
from pathlib import Path

import mlflow

# The page of the experiment opens with runs and curves, not with traces of language models.
KIND = {"mlflow.experimentKind": "custom_model_development"}


def repository_root() -> Path:
    """The repository of the runs: DVC's root, also in its temporary folders, or the current one."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


def own_uri() -> str:
    """The SQLite file at the repository root."""
    return f"sqlite:///{repository_root() / 'mlflow.db'}"


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI if it is set, else the repository's own store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or own_uri()


def connect() -> mlflow.MlflowClient:
    """Set MLflow's tracking URI and return a client."""
    mlflow.set_tracking_uri(tracking_uri())
    return mlflow.MlflowClient()


def experiment_id(name: str) -> str:
    """The id of an experiment, which is created if it is new.

    Artifacts of the repository's own store are in its mlruns/; a server chooses its own location.
    """
    client = connect()
    experiment = client.get_experiment_by_name(name)
    if experiment is not None:
        return str(experiment.experiment_id)
    # Compare the URIs: MLflow itself sets the environment variable in `set_tracking_uri`.
    location = str(repository_root() / "mlruns" / name) if tracking_uri() == own_uri() else None
    return str(client.create_experiment(name, artifact_location=location, tags=KIND))
