"""A real PostgreSQL server with an empty database, for the time of some tests."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg2

from mlflow_server import free_port

STARTUP_S = 60
NOBODY = {"user": 65534, "group": 65534, "extra_groups": []}  # PostgreSQL refuses to run as root
INSTALL = "needs PostgreSQL: apt-get install postgresql, or put its initdb on the PATH"
PASSWORD = "secret word"  # the URI must quote the blank


def postgres_programs():
    """The folder of initdb and postgres, which Debian keeps off the PATH; None without them."""
    found = shutil.which("initdb")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return Path(found).parent if found else next(reversed(folders), None)


@contextmanager
def postgres_server():
    """Create and start a server with a password, and yield the URI of its empty database."""
    programs = postgres_programs()
    account = NOBODY if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="maskmill-postgres-") as name:
        folder = Path(name)
        (folder / "password").write_text(PASSWORD)
        if account:
            for path in (folder, folder / "password"):
                os.chown(path, account["user"], account["group"])
        port = free_port()
        options = ["--username=team", f"--pwfile={folder}/password", "--auth=scram-sha-256"]
        options += ["--no-sync"]  # no data to keep: nothing here waits for the disk
        subprocess.run(
            [programs / "initdb", "--pgdata", folder / "data", *options],
            check=True,
            capture_output=True,
            cwd=folder,
            **account,
        )
        settings = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        settings += ["-c", "fsync=off"]
        server = subprocess.Popen(
            [programs / "postgres", "-D", folder / "data", "-p", str(port), *settings],
            stderr=subprocess.DEVNULL,
            cwd=folder,
            **account,
        )
        try:
            address = f"team:{quote(PASSWORD)}@127.0.0.1:{port}/postgres"
            deadline = time.monotonic() + STARTUP_S
            while not _answers(f"postgresql://{address}"):
                assert time.monotonic() < deadline, "PostgreSQL does not start"
                time.sleep(0.1)
            yield f"postgresql+psycopg2://{address}"
        finally:
            server.send_signal(signal.SIGINT)  # a fast shutdown
            server.wait()


def _answers(uri):
    try:
        psycopg2.connect(uri).close()
    except psycopg2.OperationalError:
        return False
    return True
