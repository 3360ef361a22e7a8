"""A tracking store that cannot be used is refused within seconds, with the fix."""

import os
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time

import pytest

from maskmill.tracking import address
from maskmill.tracking.address import check_store, shown
from maskmill.tracking.store import connect

pytestmark = pytest.mark.slow  # MLflow's import

FILE_STORE_FIX = "either unset MLFLOW_TRACKING_URI to use mlflow.db of this project, or set it to"


@pytest.fixture
def seconds():
    """The time since the test began, which MLflow's own retries would make minutes."""
    start = time.monotonic()
    return lambda: time.monotonic() - start


@pytest.fixture
def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.parametrize("uri", ["file:./mlruns", "file:///tmp/mlruns", "mlruns", "/tmp/mlruns"])
def test_a_folder_is_refused(uri):
    with pytest.raises(ValueError, match=FILE_STORE_FIX) as caught:
        check_store(uri)
    assert f"MLFLOW_TRACKING_URI={uri}: expected a database or a server" in str(caught.value)


def test_a_server_that_is_down_is_refused_and_the_password_is_not_shown(free_port, seconds):
    with pytest.raises(ValueError, match="start it, correct MLFLOW_TRACKING_URI, or") as caught:
        check_store(f"http://me:secret@127.0.0.1:{free_port}")
    message = f"http://127.0.0.1:{free_port}: expected an MLflow server, but got: "
    assert str(caught.value).startswith(message)
    assert "Connection refused" in str(caught.value)
    assert seconds() < 10


def test_a_server_that_does_not_answer_is_refused(monkeypatch):
    assert address.TIMEOUT_S < 10
    monkeypatch.setattr(address, "TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(ValueError, match=f"127.0.0.1:{port}.* but got: timed out"):
            check_store(f"http://127.0.0.1:{port}")
        silent.setblocking(False)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):  # one request: it waits for the time-out once
            silent.accept()


def test_a_host_that_does_not_exist_is_refused(seconds):
    with pytest.raises(ValueError, match="nowhere.invalid: expected an MLflow server"):
        check_store("http://nowhere.invalid")
    assert seconds() < 10


@pytest.mark.parametrize(
    ("uri", "without_secrets"),
    [
        ("http://me:secret@host:5000/path", "http://host:5000/path"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
        ("postgresql://me:secret@host/mlflow", "postgresql://host/mlflow"),
    ],
)
def test_addresses_are_shown_without_passwords(uri, without_secrets):
    assert shown(uri) == without_secrets


def with_random_bytes(path):
    path.write_bytes(os.urandom(100_000))


def truncated(path):
    path.write_bytes(path.read_bytes()[:50_000])


def with_flipped_pages(path):
    content = bytearray(path.read_bytes())
    for start in range(4096, len(content), 8192):
        content[start : start + 64] = bytes(64)
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage", [with_random_bytes, truncated, with_flipped_pages], ids=lambda damage: damage.__name__
)
def test_a_damaged_database_is_refused(tmp_path, database, damage, seconds):
    path = tmp_path / "mlflow.db"
    path.write_bytes(database.read_bytes())
    damage(path)
    with pytest.raises(ValueError, match="restore a copy, or move it away") as caught:
        check_store(f"sqlite:///{path}")
    assert f"{path}: expected MLflow's database, but it is damaged: " in str(caught.value)
    assert seconds() < 10


def test_a_database_that_stays_locked_is_refused(tmp_path, database, seconds, monkeypatch):
    monkeypatch.setattr("maskmill.tracking.address.BUSY_S", 0.5)
    path = tmp_path / "mlflow.db"
    path.write_bytes(database.read_bytes())
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin immediate")
    try:
        with pytest.raises(ValueError, match="another process has locked it for 0.5 s - end that"):
            check_store(f"sqlite:///{path}")
    finally:
        other.close()
    assert seconds() < 10


def test_a_database_that_is_locked_for_a_moment_is_used(tmp_path, database):
    path = tmp_path / "mlflow.db"
    path.write_bytes(database.read_bytes())
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("begin immediate")
    threading.Timer(0.5, other.close).start()
    assert check_store(f"sqlite:///{path}") is None


# A process without the rights of root, which may write everywhere.
AS_NOBODY = """
import os, sys
from maskmill.tracking.address import check_store
if os.getuid() == 0:
    os.setuid(65534)
try:
    check_store(sys.argv[1])
except ValueError as error:
    print(error)
"""


@pytest.mark.parametrize("name", ["mlflow.db", "new.db"])
def test_a_database_or_folder_without_write_permission_is_refused(tmp_path, database, name):
    path = tmp_path / "mlflow.db"
    path.write_bytes(database.read_bytes())
    path.chmod(0o444)
    for folder in tmp_path.parents:  # those of pytest are its user's alone
        if not folder.stat().st_mode & stat.S_IXOTH:
            folder.chmod(0o755)
    tmp_path.chmod(0o555)
    command = [sys.executable, "-c", AS_NOBODY, f"sqlite:///{tmp_path / name}"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    tmp_path.chmod(0o755)
    assert "no permission to write - either give this user the permission (chmod u+w)" in output
    assert str(tmp_path) in output


def test_a_database_of_another_version_of_mlflow_names_the_upgrade(store, tmp_path):
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute("update alembic_version set version_num = '451aebb31d03'")
    uri = f"sqlite:///{tmp_path}/./mlflow.db"  # not the address that is open already
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(ValueError, match=f"then run `mlflow db upgrade {uri}`"):
            connect()
