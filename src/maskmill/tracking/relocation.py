"""The repository's own store follows the repository when its folder is renamed, moved or copied.

MLflow saves absolute locations of artifacts. Without this, it would write new files to the old
place and find none of the earlier ones.
"""

import logging
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from maskmill.tracking.address import database_path, own_database, repository_root

log = logging.getLogger(__name__)

ARTIFACTS = "mlruns"
COPY_ENDING = ".before-move"
LOCATIONS = (  # the columns of MLflow's tables that contain locations of artifacts
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("trace_tags", "value"),
)


@dataclass(frozen=True)
class Relocation:
    """A store that names the folder where the repository was before.

    Args:
        database: MLflow's SQLite file.
        old_root: the folder that the database names.
        new_root: the folder of the repository now.
    """

    database: Path
    old_root: Path
    new_root: Path

    @property
    def copy(self) -> Path:
        """The copy of the database that `apply` makes first."""
        return self.database.with_name(self.database.name + COPY_ENDING)

    def apply(self) -> int:
        """Copy the database, then replace the old folder in all locations, in one transaction.

        Returns:
            the number of locations that were replaced.
        """
        with closing(sqlite3.connect(self.database)) as database:
            with closing(sqlite3.connect(self.copy)) as copy:
                database.backup(copy)
            database.create_function("moved", 1, self._moved)
            with database:
                return sum(_move_column(database, *column) for column in LOCATIONS)

    def _moved(self, location: str | None) -> str | None:
        path = local_path(location)
        old = self.old_root / ARTIFACTS
        if path is None or not path.is_relative_to(old):
            return location
        return local_uri(self.new_root / ARTIFACTS / path.relative_to(old))


def _move_column(database: sqlite3.Connection, table: str, column: str) -> int:
    moved = f"update {table} set {column} = moved({column}) where {column} is not moved({column})"
    return database.execute(moved).rowcount


def follow_repository(uri: str) -> None:
    """Correct the locations in the store at `uri` if it is this repository's own and has moved.

    Raises:
        ValueError: the repository was copied without its artifacts.
    """
    for relocation in find_relocations(uri):
        num_replaced = relocation.apply()
        log.warning(
            "This repository was in %s and is now in %s: %d locations of artifacts in %s were "
            "corrected (the database as it was: %s)",
            relocation.old_root,
            relocation.new_root,
            num_replaced,
            relocation.database.name,
            relocation.copy.name,
        )


def find_relocations(uri: str) -> list[Relocation]:
    """What must be corrected in the store at `uri`; nothing if it is not the repository's own.

    Raises:
        ValueError: the repository was copied without its artifacts.
    """
    root = repository_root()
    database = database_path(uri)
    if database is None or not database.is_file() or not _is_same(database, own_database()):
        return []
    roots: list[Path] = []
    for name, location in _experiments(database):
        old_root = _root_of(name, location)
        if old_root is None or old_root in {root, *roots}:
            continue
        if _has_moved(name, old_root, root):
            roots.append(old_root)
    return [Relocation(database, old_root, root) for old_root in roots]


def _experiments(database: Path) -> list[tuple[str, str]]:
    query = "select name, artifact_location from experiments order by experiment_id"
    with closing(sqlite3.connect(database)) as connection:
        try:
            return connection.execute(query).fetchall()
        except sqlite3.OperationalError:  # an empty file: MLflow has not made its tables yet
            return []


def _root_of(experiment: str, location: str) -> Path | None:
    """The repository whose own store made the experiment; None: its location was chosen freely."""
    path = local_path(location)
    ending = f"/{ARTIFACTS}/{experiment}"
    if path is None or not str(path).endswith(ending):
        return None
    return Path(str(path).removesuffix(ending))


def _has_moved(experiment: str, old_root: Path, root: Path) -> bool:
    """Are the artifacts of an experiment now in `root`, and no longer in `old_root`?"""
    if _is_same(old_root / own_database().name, own_database()):
        return False  # two working trees share one database by a link
    has_artifacts_here = (root / ARTIFACTS / experiment).exists()
    has_artifacts_there = (old_root / ARTIFACTS / experiment).exists()
    if has_artifacts_here or not has_artifacts_there:
        return True
    if (old_root / own_database().name).exists():
        raise ValueError(
            f"{own_database()}: expected the artifacts of its runs in {root / ARTIFACTS}, but they "
            f"are in {old_root / ARTIFACTS} alone: the repository was copied without them - either "
            f"copy that folder too (cp -r {old_root / ARTIFACTS} {root}), or move mlflow.db away "
            "to start a new database"
        )
    return False  # no repository: the location was chosen freely


def _is_same(path: Path, other: Path) -> bool:
    return path.exists() and other.exists() and path.samefile(other)


def local_path(location: str | None) -> Path | None:
    """The path of a local location; None for one on a server."""
    if location is None:
        return None
    if location.startswith("file:"):
        return Path(unquote(urlsplit(location).path))
    return Path(location) if location.startswith("/") else None


def local_uri(path: Path) -> str:
    """A location that MLflow reads back as `path`: it decodes plain paths, too."""
    return path.as_uri() if "%" in str(path) else str(path)
