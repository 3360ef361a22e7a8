"""Where MLflow keeps runs: mlflow.db and mlruns/ at the repository root, as `mlflow ui` expects."""

import functools
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import mlflow
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from maskmill.tracking.address import (
    check_store,
    database_path,
    own_uri,
    repository_root,
    shown,
    tracking_uri,
)
from maskmill.tracking.database import create_tables, preparing
from maskmill.tracking.relocation import ARTIFACTS, follow_repository, local_uri
from maskmill.tracking.views import experiment_tags

# MLflow tells what it is doing ("Validating input example"), which is nothing to act on.
MLFLOW_LOG = logging.getLogger("mlflow")
# MLflow logs each error of a database with its traceback, and raises it: it is reported once.
MLFLOW_DATABASE_LOG = logging.getLogger("mlflow.store.db.utils")
# Libraries of artifact stores, whose errors have no class in common.
ARTIFACT_LIBRARIES = {"azure", "boto3", "botocore", "google"}
CAUSE = re.compile(r"""Caused by \w+\((["'])(.*)\1\)""")  # at the end of a message of urllib3
STORE_ERRORS = (MlflowException, SQLAlchemyError, OSError)


def connect() -> mlflow.MlflowClient:
    """Set MLflow's tracking URI and return a client.

    Raises:
        ValueError: the store cannot be used, see `check_store`, or another version of MLflow
            wrote it.
    """
    uri = tracking_uri()
    if "MLFLOW_LOGGING_LEVEL" not in os.environ:
        MLFLOW_LOG.setLevel(logging.WARNING)
    MLFLOW_DATABASE_LOG.setLevel(logging.CRITICAL)
    _prepare(uri)
    mlflow.set_tracking_uri(uri)
    return mlflow.MlflowClient()


@functools.cache  # an error is not kept, so that a later call tries again
def _prepare(uri: str) -> None:
    """Check the store once per process; a moved repository's own store follows it."""
    check_store(uri)
    database = database_path(uri)
    with store_errors():
        if database is not None:
            with preparing(database):
                follow_repository(uri)
                create_tables(database)
        mlflow.MlflowClient(uri).search_experiments(max_results=1)


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn errors of the store into a ValueError or OSError that says what to do."""
    try:
        with artifact_errors():
            yield
    except (MlflowException, SQLAlchemyError) as error:
        reason = reason_of(error)
        uri = tracking_uri()
        raise ValueError(
            f"{shown(uri)}: expected MLflow's store to answer, but got: {reason} - {_fix(reason)}"
        ) from error


@contextmanager
def artifact_errors() -> Iterator[None]:
    """Turn errors of the library that writes artifacts into an OSError."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ARTIFACT_LIBRARIES:
            raise
        raise OSError(
            f"{shown(tracking_uri())}: expected its artifact store to answer, but got: "
            f"{reason_of(error)} - check its address and credentials (for S3: the AWS variables), "
            "then run the same command again"
        ) from error


def reason_of(error: Exception) -> str:
    """The message of an error in one line, without the request or the SQL statement.

    Example:
        >>> reason_of(OSError("url: /api (Caused by NewConnectionError('refused'))"))
        'refused'
    """
    text = " ".join(str(error).split()).partition(" [SQL:")[0]
    cause = CAUSE.search(text)
    return text if cause is None else cause[2]


def _fix(reason: str) -> str:
    if "out-of-date database schema" in reason or "Can't locate revision" in reason:
        return (
            "another version of MLflow wrote it: copy the database, then run "
            f"`mlflow db upgrade {shown(tracking_uri())}`, or install that version"
        )
    if "database is locked" in reason:
        return (
            "another process has locked the database: end it (perhaps a database browser or a "
            "backup), or wait for it, and run the same command again"
        )
    if "401" in reason or "403" in reason:
        return "check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (or _TOKEN)"
    return "check the server or the database and run the same command again"


def experiment_id(name: str) -> str:
    """The id of an experiment, which is created if it is new.

    Artifacts of the repository's own store are in its mlruns/; a server chooses its own location.
    """
    client = connect()
    experiment = client.get_experiment_by_name(name)
    if experiment is not None:
        return str(experiment.experiment_id)
    # Compare the URIs: MLflow itself sets the environment variable in `set_tracking_uri`.
    is_own = tracking_uri() == own_uri()
    location = local_uri(repository_root() / ARTIFACTS / name) if is_own else None
    try:
        return str(
            client.create_experiment(name, artifact_location=location, tags=experiment_tags())
        )
    except MlflowException:
        experiment = client.get_experiment_by_name(name)
        if experiment is None:  # no other process has just created it
            raise
        return str(experiment.experiment_id)
