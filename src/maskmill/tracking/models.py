"""Versions and aliases of the model registry."""

import contextlib
import io
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import mlflow
from filelock import FileLock, Timeout
from mlflow.entities import LoggedModelStatus, Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from maskmill.tracking.address import database_path, repository_root, tracking_uri
from maskmill.tracking.descriptions import MAX_DESCRIPTION_LENGTH, NOTE, add_to_description
from maskmill.tracking.lineage import MODEL_TAG, PREDICTION_TAG
from maskmill.tracking.relocation import ARTIFACTS
from maskmill.tracking.store import connect
from maskmill.tracking.version_facts import as_tags, version_facts

log = logging.getLogger(__name__)

CHAMPION = "champion"
CHALLENGER = "challenger"
READY = "READY"
MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # MLflow's codes
LOGGED_MODEL = "models:/m-"  # the source of a version that was registered from a logged model
ABOUT = """A segmentation model made by maskmill: images in, classes and objects out.

- `models:/{name}@champion` is the version in use. It was better than the one before on the same
  images, or was promoted by hand; the tag `decision` of a version gives the reason.
- `models:/{name}@challenger` is the best version that did not become champion.
- `maskmill models {name}` lists the versions with their scores.
"""
ABANDONED_AFTER_S = 3600  # an unfinished model on a server, where another machine may be at work


@contextmanager
def registry_lock(name: str) -> Iterator[None]:
    """Let one process at a time change the aliases of a registered model in a local store.

    Processes of other machines at the same server are not locked out: see `move_champion`.
    """
    database = database_path(tracking_uri())
    folder = repository_root() if database is None else database.parent
    path = folder / ARTIFACTS / f".{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("another process changes the versions of %s: waiting for it", name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def versions(name: str) -> list[ModelVersion]:
    """All versions of a registered model, the latest first, with their aliases.

    Raises:
        ValueError: there is no registered model of that name.
    """
    client = connect()
    try:
        model = client.get_registered_model(name)
    except MlflowException as error:
        known = [model.name for model in client.search_registered_models()]
        raise ValueError(
            f"{name}: expected a registered model, but there are {known} - "
            "either correct the name or run `maskmill register` first"
        ) from error
    found = list(client.search_model_versions(f"name = '{model.name}'"))
    for version in found:
        version.aliases = [
            alias for alias, number in model.aliases.items() if str(number) == str(version.version)
        ]
    return sorted(found, key=lambda version: -int(version.version))


def find_version(name: str, fingerprint: str, prediction: str) -> ModelVersion | None:
    """The version of a model that predicts in one way, so that registering it twice makes one.

    A version that a killed registration left unfinished is deleted.

    Args:
        name: of the registered model.
        fingerprint: of the model.
        prediction: how it predicts, as the fact `PREDICTION_TAG`.
    """
    client = connect()
    query = f"name = '{name}' and tags.`{MODEL_TAG}` = '{fingerprint}'"
    for version in client.search_model_versions(query):
        if version_facts(version).get(PREDICTION_TAG, "") != prediction:
            continue
        if version.status == READY:
            return version
        log.warning(
            "%s version %s was not ready, since its registration was killed: it is deleted, and "
            "the model is registered again",
            name,
            version.version,
        )
        client.delete_model_version(name, version.version)
    return None


def find_logged_model(run: Run, fingerprint: str, prediction: str) -> str | None:
    """The URI of the model that a killed registration logged before it made a version.

    What such a registration left unfinished is deleted, and the run is finished again.
    """
    client = connect()
    run_id = run.info.run_id
    uri = None
    for model in client.search_logged_models(
        [run.info.experiment_id], f"source_run_id = '{run_id}'"
    ):
        if model.status == LoggedModelStatus.READY:
            is_model = model.tags.get(MODEL_TAG) == fingerprint
            if is_model and model.tags.get(PREDICTION_TAG, "") == prediction:
                uri = str(model.model_uri)
            continue
        age_s = time.time() - model.creation_timestamp / 1000
        if database_path(tracking_uri()) is not None or age_s > ABANDONED_AFTER_S:
            log.warning(
                "run %s has an unfinished model, since its registration was killed: it is deleted",
                run_id,
            )
            client.delete_logged_model(model.model_id)
    if run.info.status == "RUNNING":  # killed while it was reopened to add the model
        client.set_terminated(run_id, "FINISHED")
    return uri


def create_version(name: str, model_uri: str, facts: Mapping[str, str]) -> ModelVersion:
    """Register a logged model with facts about it under `name`, which is created if it is new.

    `mlflow.register_model` also links the model's own page to the version.
    """
    connect()
    with contextlib.redirect_stderr(io.StringIO()):  # MLflow prints what we log ourselves
        return mlflow.register_model(model_uri, name, tags=as_tags(facts))


def keep_facts(version: ModelVersion, facts: Mapping[str, str]) -> None:
    """Keep facts with a version, in the registry and in this object."""
    client = connect()
    tags = as_tags(facts, version.tags)
    changed = {key: value for key, value in tags.items() if version.tags.get(key) != value}
    for key, value in changed.items():
        client.set_model_version_tag(version.name, version.version, key, value)
        version.tags[key] = value


def describe_version(version: ModelVersion, card: str, reason: str) -> None:
    """Make the model card the description of a version and its logged model; link the run to it.

    Args:
        version: to describe; its registered model is described too.
        card: in Markdown.
        reason: of its alias, for the run.
    """
    client = connect()
    text = card[:MAX_DESCRIPTION_LENGTH]
    client.update_model_version(version.name, version.version, text)
    client.update_registered_model(version.name, ABOUT.format(name=version.name))
    if version.source.startswith(LOGGED_MODEL):
        client.set_logged_model_tags(version.source.removeprefix("models:/"), {NOTE: text})
    number = version.version
    link = f"[{version.name} version {number}](#/models/{version.name}/versions/{number})"
    add_to_description(
        version.run_id, f"Registered as {version.name} {number}", f"{link}: {reason}"
    )


def version_with_alias(name: str, alias: str) -> ModelVersion | None:
    """The version with an alias, or None."""
    try:
        return connect().get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in MISSING:
            return None
        raise


def champion(name: str) -> ModelVersion | None:
    """The version with the alias `champion`, or None."""
    return version_with_alias(name, CHAMPION)


def version_of(uri: str) -> ModelVersion:
    """The version that models:/NAME/VERSION or models:/NAME@ALIAS names.

    Raises:
        ValueError: the URI has another form, or the registry has no such version.
    """
    name, separator, number = uri.removeprefix("models:/").rpartition("/")
    client = connect()
    try:
        if separator:
            return client.get_model_version(name, number)
        name, _, alias = number.partition("@")
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        raise ValueError(
            f"{uri}: expected a version of the registry, as models:/NAME/3 or models:/NAME@champion"
            f", but got: {error.message} - choose one that `maskmill models` lists"
        ) from error


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
