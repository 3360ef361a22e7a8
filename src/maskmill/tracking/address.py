"""The address of the tracking store, checked before anything slow is imported.

MLflow itself takes minutes to give up: it asks a server that is down eight times, and opens a
damaged database ten times.
"""

import os
import sqlite3
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

VARIABLE = "MLFLOW_TRACKING_URI"
TIMEOUT_S = 5.0  # of a request to a server
BUSY_S = 20.0  # other processes may write to a database for this long, as for MLflow
SQLITE = "sqlite:///"
MAGIC = b"SQLite format 3\0"  # sqlite.org/fileformat.html, sec. 1.3
MAX_CHECKED_BYTES = 64_000_000  # every page of a database up to this size is read: 0.4 s


def repository_root() -> Path:
    """The repository of the runs: DVC's root, also in its temporary folders, or the current one."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


def own_database() -> Path:
    """The SQLite file at the repository root."""
    return repository_root() / "mlflow.db"


def own_uri() -> str:
    """The URI of the SQLite file at the repository root."""
    path = str(own_database()).replace("%", "%25").replace("?", "%3F")  # SQLAlchemy decodes it
    return f"{SQLITE}{path}"


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI if it is set, else the repository's own store."""
    return os.environ.get(VARIABLE) or own_uri()


def shown(uri: str) -> str:
    """The URI for messages, without the user name and password that it may contain."""
    parts = urlsplit(uri)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host).geturl() if parts.netloc else uri


def database_path(uri: str) -> Path | None:
    """The file of an SQLite store; None for other stores and for URIs with parameters."""
    if not uri.startswith(SQLITE) or "?" in uri:
        return None
    return Path(unquote(uri.removeprefix(SQLITE)))


def check_store(uri: str) -> None:
    """Find out within seconds whether MLflow can use the store.

    Args:
        uri: of the store, see `tracking_uri`.

    Raises:
        ValueError: it is a folder or no URI, the server does not answer, or the database is
            damaged, locked or cannot be written.
    """
    scheme = urlsplit(uri).scheme
    if scheme in {"", "file"} and not uri.startswith("databricks"):
        raise ValueError(
            f"{VARIABLE}={uri}: expected a database or a server, but got a folder, which MLflow no "
            f"longer writes - either unset {VARIABLE} to use mlflow.db of this project, or set it "
            "to sqlite:////PATH/mlflow.db or http://HOST:PORT (`mlflow migrate-filestore` copies "
            "old runs to a database)"
        )
    if scheme in {"http", "https"}:
        _check_server(uri)
    path = database_path(uri)
    if path is not None:
        _check_database(path)


def _check_server(uri: str) -> None:
    address = shown(uri)  # urllib would take the password for a port
    fix = f"start it, correct {VARIABLE}, or unset it to track in mlflow.db of this project"
    try:
        page = f"{address.rstrip('/')}/health"  # of a server: the scheme is http or https
        urllib.request.urlopen(page, timeout=TIMEOUT_S).close()  # nosec B310
    except urllib.error.HTTPError as error:
        if error.code < 500:  # it answers: old servers and proxies have no such page
            return
        reason = f"status {error.code}"
    except (OSError, ValueError) as error:
        cause = getattr(error, "reason", error)
        if isinstance(cause, ssl.SSLError):  # it answers: MLflow has settings for certificates
            return
        reason = str(cause)
    else:
        return
    raise ValueError(f"{address}: expected an MLflow server, but got: {reason} - {fix}")


def _check_database(path: Path) -> None:
    if not path.exists():
        _require_writable(path.parent)
        return
    if not path.is_file():
        raise ValueError(
            f"{path}: expected MLflow's database, but got a folder - correct {VARIABLE}"
        )
    _require_writable(path)
    _require_writable(path.parent)  # SQLite writes its journal beside the database
    with path.open("rb") as file:
        start = file.read(len(MAGIC))
    if start not in {b"", MAGIC}:
        raise ValueError(_damaged(path, "another kind of file"))
    try:
        _try_to_write(path)
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise ValueError(_unwritable(path, str(error))) from error
        raise ValueError(
            f"{path}: expected to write to MLflow's database, but another process has locked it "
            f"for {BUSY_S:g} s - end that process (perhaps a database browser or a backup), or "
            "wait for it"
        ) from error
    except sqlite3.DatabaseError as error:
        raise ValueError(_damaged(path, str(error))) from error


def _try_to_write(path: Path) -> None:
    """Begin to write, and read every page of a small database."""
    uri = f"file:{quote(str(path.absolute()))}?mode=rw"
    database = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None)
    try:
        database.execute("begin immediate")
        database.execute("select count(*) from sqlite_master").fetchone()
        database.execute("rollback")  # reading every page must not make other processes wait
        if path.stat().st_size <= MAX_CHECKED_BYTES:
            (result,) = database.execute("pragma quick_check(1)").fetchone()
            if result != "ok":
                raise sqlite3.DatabaseError(" ".join(result.split()))
    finally:
        database.close()


def _require_writable(path: Path) -> None:
    existing = path
    while not existing.exists():
        existing = existing.parent
    if not os.access(existing, os.W_OK):
        raise ValueError(_unwritable(existing, "no permission to write"))


def _unwritable(path: Path, reason: str) -> str:
    return (
        f"{path}: expected to write to MLflow's database, but got: {reason} - "
        f"either give this user the permission (chmod u+w), or set {VARIABLE} to another store"
    )


def _damaged(path: Path, reason: str) -> str:
    return (
        f"{path}: expected MLflow's database, but it is damaged: {reason} - restore a copy, or "
        "move it away to start a new one (models in out/ are not affected)"
    )
