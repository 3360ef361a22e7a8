"""The settings of the server."""

import pytest

from maskmill.assembly.serving import ServeSettings
from maskmill.serving.server.service import Batching
from maskmill.serving.server.uploads import Limits


def settings(api_key_file=None, threads=None):
    limits = Limits(max_bytes=1, max_pixels=1, min_side_px=1, max_queue=1, timeout_s=1)
    batching = Batching(workers=10_000, max_batch=1, max_wait_ms=0, follow_s=0)
    return ServeSettings(
        model="out/train",
        host="127.0.0.1",
        port=8000,
        device="cpu",
        threads=threads,
        inference=len,
        postprocess={},
        batching=batching,
        limits=limits,
        api_key_file=api_key_file,
    )


def test_the_key_comes_from_a_file_or_the_environment_or_there_is_none(tmp_path, monkeypatch):
    monkeypatch.delenv("MASKMILL_API_KEY", raising=False)
    assert settings().api_key() is None
    monkeypatch.setenv("MASKMILL_API_KEY", "0123456789abcdef")
    assert settings().api_key() == "0123456789abcdef"
    path = tmp_path / "key"
    path.write_text("a key in a file of its own\n")
    assert settings(path).api_key() == "a key in a file of its own"


@pytest.mark.parametrize("key", ["", "short", "0123456789abcde\n", "schlüssel schlüssel"])
def test_a_weak_key_is_refused(tmp_path, key):
    path = tmp_path / "key"
    path.write_text(key)
    with pytest.raises(ValueError, match=r"key: expected a key of at least 16 printable ASCII"):
        settings(path).api_key()


def test_a_missing_file_with_a_key_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: expected a file with the API key"):
        settings(tmp_path / "nowhere").api_key()


@pytest.mark.parametrize(("threads", "expected"), [(None, 1), (3, 3)])
def test_the_cores_are_divided_among_the_workers(threads, expected):
    assert settings(threads=threads).loader().threads == expected
