"""The SQLite file of a store, for several processes that start together."""

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import mlflow
from filelock import FileLock

from maskmill.tracking.address import BUSY_S, SQLITE
from maskmill.tracking.relocation import ARTIFACTS

LOCK = ".store.lock"


@contextmanager
def preparing(database: Path) -> Iterator[None]:
    """Let one process at a time create or correct the database; the others wait for it."""
    path = database.parent / ARTIFACTS / LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        yield


def create_tables(database: Path) -> None:
    """Create MLflow's tables in an SQLite file that is new or empty, all in one transaction.

    MLflow itself creates them step by step and without a lock. Of several processes that start
    together, all but one fail, and a killed one leaves a database that no process can use.
    """
    if _has_tables(database):
        return
    with tempfile.TemporaryDirectory(prefix="maskmill-store-") as folder:
        draft = Path(folder) / database.name
        mlflow.MlflowClient(f"{SQLITE}{draft}").search_experiments(max_results=1)
        source = sqlite3.connect(draft)
        target = sqlite3.connect(database, timeout=BUSY_S)
        with closing(source), closing(target):
            source.backup(target)


def _has_tables(database: Path) -> bool:
    if not database.exists():
        return False
    with closing(sqlite3.connect(database, timeout=BUSY_S)) as connection:
        return connection.execute("select 1 from sqlite_master limit 1").fetchone() is not None
