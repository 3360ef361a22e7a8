"""Versions and aliases of the model registry."""

import tempfile
from pathlib import Path

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from maskmill.tracking.lineage import MODEL_TAG
from maskmill.tracking.store import connect

CHAMPION, CHALLENGER = "champion", "challenger"


def find_version(name: str, fingerprint: str) -> ModelVersion | None:
    """The version that holds the model with this fingerprint, so that registering twice makes one version."""
    found = connect().search_model_versions(
        f"name = '{name}' and tags.`{MODEL_TAG}` = '{fingerprint}'"
    )
    return found[0] if found else None


def create_version(name: str, model_uri: str, run_id: str, tags: dict[str, str]) -> ModelVersion:
    """Register a logged model under `name`, which is made where it is new."""
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
    """The version with the alias `champion`, where there is one."""
    try:
        return connect().get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            return None
        raise


def set_alias(version: ModelVersion, alias: str) -> None:
    """Point an alias at a version; a version that becomes champion is no challenger any more."""
    client = connect()
    client.set_registered_model_alias(version.name, alias, version.version)
    if (
        alias == CHAMPION
        and CHALLENGER in client.get_model_version(version.name, version.version).aliases
    ):
        client.delete_registered_model_alias(version.name, CHALLENGER)


def run_artifact(run_id: str, name: str) -> Path | None:
    """A local copy of an artifact of a run, None where the run has none of that name."""
    connect()
    try:
        return Path(
            mlflow.artifacts.download_artifacts(
                run_id=run_id, artifact_path=name, dst_path=tempfile.mkdtemp()
            )
        )
    except (MlflowException, OSError):
        return None


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
            f"{uri}: expected a registered model, but got: {error} - register one, or see `mlflow ui`"
        ) from error
    return folder / "artifacts" / "model"
