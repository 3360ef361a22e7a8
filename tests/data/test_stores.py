"""The files of a data set in a folder, in memory, on an HTTP server and on an S3 server."""

import os
import pickle
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from maskmill.data.stores import LocalStore, RemoteStore, open_store
from s3_server import s3_server

NOTHING_LISTENS = "http://127.0.0.1:9"


@contextmanager
def http_server(handler):
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class QuietHandler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def s3():
    with s3_server("data-sets") as url:
        yield url


@pytest.fixture(params=["folder", "memory", "s3"])
def store(request, tmp_path):
    if request.param == "folder":
        return open_store(tmp_path)
    if request.param == "memory":
        return open_store(f"memory://{tmp_path.name}")
    return open_store(f"{request.getfixturevalue('s3')}/{tmp_path.name}")


@pytest.mark.slow
def test_a_written_file_is_read_whole_and_in_ranges(store):
    store.write("train/a.json", b"0123456789")
    assert store.read("train/a.json") == b"0123456789"
    assert store.read("train/a.json", 2, 3) == b"234"
    assert store.read("train/a.json", 8, 5) == b"89"
    assert store.sizes(["train/a.json"]) == [10]


def test_an_uploaded_file_has_the_bytes_of_the_local_one(store, tmp_path):
    local = tmp_path / "local.bin"
    local.write_bytes(bytes(range(256)) * 10_000)
    store.upload("train/shard.tar", local)
    assert store.read("train/shard.tar") == local.read_bytes()
    assert store.read("train/shard.tar", 255, 2) == b"\xff\x00"


def test_only_existing_files_are_found(store):
    store.write("train/a.json", b"{}")
    assert store.has("train/a.json")
    assert not store.has("train/b.json")
    assert not store.has("train")  # a folder


def test_a_missing_file_is_named(store):
    store.write("a.json", b"{}")
    with pytest.raises(FileNotFoundError, match=r"b\.json"):
        store.read("b.json")
    with pytest.raises(FileNotFoundError, match=r"b\.json"):
        store.sizes(["a.json", "b.json"])


def test_a_file_name_cannot_leave_the_store(store):
    with pytest.raises(ValueError, match=r"'\.\./a\.json' leaves the data folder"):
        store.read("../a.json")


def test_a_file_url_is_a_local_folder(tmp_path):
    store = open_store(f"file://{tmp_path}")
    assert isinstance(store, LocalStore)
    assert store.root == tmp_path


@pytest.mark.slow
def test_a_spawned_process_can_open_the_store_again(s3):
    store = open_store(s3)
    store.write("a.json", b"{}")
    copy = pickle.loads(pickle.dumps(store))
    assert isinstance(copy, RemoteStore)
    assert copy.read("a.json") == b"{}"


@pytest.mark.slow
def test_a_missing_bucket_is_an_error_for_reading_and_writing(s3):
    store = open_store("s3://no-such-bucket/x")
    with pytest.raises(FileNotFoundError, match=r"s3://no-such-bucket/x/a\.json: .*NoSuchBucket"):
        store.read("a.json")
    with pytest.raises(FileNotFoundError, match=r"s3://no-such-bucket/x/a\.json: .*NoSuchBucket"):
        store.write("a.json", b"{}")


def test_missing_credentials_are_an_error(s3, monkeypatch, tmp_path):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(OSError, match="Unable to locate credentials - check the endpoint"):
        open_store(s3).has("a.json")


@pytest.mark.slow
def test_an_unreachable_s3_endpoint_is_an_error(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", NOTHING_LISTENS)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(OSError, match=r"expected access, but got .*127\.0\.0\.1:9.* - check the"):
        open_store(s3).has("a.json")


def test_an_unreachable_http_server_is_not_a_missing_file():
    with pytest.raises(OSError, match=r"127\.0\.0\.1.* - check the URL and the network"):
        open_store(f"{NOTHING_LISTENS}/street").has("a.json")


class InterruptsFirstAnswer(QuietHandler):
    """Promises ten bytes but disconnects after four, the first time."""

    num_answers = 0

    def do_GET(self):
        type(self).num_answers += 1
        self.send_response(200)
        self.send_header("Content-Length", "10")
        self.end_headers()
        self.wfile.write(b"0123456789"[: 4 if self.num_answers == 1 else 10])


@pytest.mark.slow
def test_an_interrupted_answer_of_s3_is_requested_again(s3, monkeypatch):
    with http_server(InterruptsFirstAnswer) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        assert open_store(s3).read("shard-000000.tar", 0, 10) == b"0123456789"
    assert InterruptsFirstAnswer.num_answers == 2


class IgnoresRanges(QuietHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "10")
        self.end_headers()
        self.wfile.write(b"0123456789")


@pytest.mark.slow
def test_a_server_without_ranges_is_refused():
    with (
        http_server(IgnoresRanges) as url,
        pytest.raises(OSError, match="sent the whole file - use a server that supports the Range"),
    ):
        open_store(f"{url}/street").read("a.tar", 2, 3)


@pytest.mark.parametrize("url", ["s3://", "memory://", "https:///"])
def test_a_url_without_bucket_or_folder_is_refused(url):
    with pytest.raises(ValueError, match=r"Expected .*://BUCKET/FOLDER, but got"):
        open_store(url)


def test_an_unknown_protocol_is_refused():
    with pytest.raises(
        ValueError, match=r"a URL that fsspec opens, but got 'street://x' .* - check data\.root"
    ):
        open_store("street://x")


@pytest.mark.parametrize(
    ("url", "package", "extra"), [("s3://bucket", "s3fs", "s3"), ("gs://bucket", "gcsfs", "gcs")]
)
def test_without_its_package_the_extra_to_install_is_named(url, package, extra, tmp_path):
    broken = f"raise ModuleNotFoundError(\"No module named '{package}'\", name='{package}')"
    (tmp_path / f"{package}.py").write_text(broken)
    program = f"from maskmill.data.stores import open_store; open_store('{url}')"
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (
        f"Expected the fsspec package for {url}, but it is not installed - "
        f"pip install 'maskmill[{extra}]'" in result.stderr
    )
