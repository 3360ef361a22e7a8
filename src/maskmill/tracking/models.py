"""Versions and aliases of the model registry."""

import tempfile
from pathlib import Path

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from maskmill.tracking.lineage import MODEL_TAG
from maskmill.tracking.store import connect

CHAMPION = "champion"
CHALLENGER = "challenger"


def find_version(name: str, fingerprint: str) -> ModelVersion | None:
    """The version of the model with this fingerprint, so that registering it twice makes one."""
    query = f"name = '{name}' and tags.`{MODEL_TAG}` = '{fingerprint}'"
    versions = connect().search_model_versions(query)
    return versions[0] if versions else None


def create_version(name: str, model_uri: str, run_id: str, tags: dict[str, str]) -> ModelVersion:
    """Register a logged model under `name`, which is created if it is new."""
    client = connect()
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    model_id = model_uri.rpartition("/")[2] if model_uri.startswith("models:/m-") else None
    return client.create_model_version(
        name, source=model_uri, run_id=run_id, tags=tags, model_id=model_id
    )


def champion(name: str) -> ModelVersion | None:
    """The version with the alias `champion`, or None."""
    try:
        return connect().get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            return None
        raise


def set_alias(version: ModelVersion, alias: str) -> None:
    """Set an alias of a version; a version that becomes champion loses the alias `challenger`."""
    client = connect()
    client.set_registered_model_alias(version.name, alias, version.version)
    if alias != CHAMPION:
        return
    current = client.get_model_version(version.name, version.version)
    if CHALLENGER in current.aliases:
        client.delete_registered_model_alias(version.name, CHALLENGER)


def run_artifact(run_id: str, name: str) -> Path | None:
    """A local copy of an artifact of a run, or None if the run has no artifact of that name."""
    connect()
    folder = tempfile.mkdtemp()
    try:
        path = mlflow.artifacts.download_artifacts(
            run_id=run_id, artifact_path=name, dst_path=folder
        )
    except (MlflowException, OSError):
        return None
    return Path(path)


def download(uri: str) -> Path:
    """The model folder inside a registered model.

    Args:
        uri: models:/NAME@ALIAS or models:/NAME/VERSION.

    Raises:
        ValueError: the registry has no such model.
    """
    connect()
    try:
        folder = Path(mlflow.artifacts.download_artifacts(uri))
    except (MlflowException, OSError) as error:
        raise ValueError(
            f"{uri}: expected a registered model, but got: {error} - "
            "either register one or choose one that `mlflow ui` shows"
        ) from error
    return folder / "artifacts" / "model"
