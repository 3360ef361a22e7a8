"""Exports of a registered model, kept with the run of its version."""

from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException

from maskmill.tracking.models import download, version_of
from maskmill.tracking.store import connect

EXPORT_TAG = "export"  # of a version: the URI of its exports


def log_exports(uri: str, folder: Path, summary: str) -> str:
    """Store exports with the run of a registered model, and name them in tags of the version.

    Args:
        uri: models:/NAME@ALIAS or models:/NAME/VERSION.
        folder: that `maskmill export` wrote.
        summary: the runtimes in it, for the tag.

    Returns:
        the URI of the stored folder.
    """
    client = connect()
    version = version_of(uri)
    place = f"export/version_{version.version}"
    client.log_artifacts(version.run_id, str(folder), place)
    stored = f"runs:/{version.run_id}/{place}"
    client.set_model_version_tag(version.name, version.version, EXPORT_TAG, stored)
    client.set_model_version_tag(version.name, version.version, "runtimes", summary)
    return stored


def download_exports(uri: str) -> Path:
    """The folder of a registered model's exports, or of the model itself if it has none.

    Args:
        uri: models:/NAME@ALIAS or models:/NAME/VERSION.

    Raises:
        ValueError: the registry has no such model.
    """
    connect()
    try:
        stored = version_of(uri).tags.get(EXPORT_TAG)
    except ValueError:
        return download(uri)  # it says what is wrong
    if stored is None:
        return download(uri)
    try:
        return Path(mlflow.artifacts.download_artifacts(stored))
    except (MlflowException, OSError) as error:
        raise ValueError(
            f"{uri}: expected its exports at {stored}, but got: {error} - "
            "run `maskmill export` for it again"
        ) from error
