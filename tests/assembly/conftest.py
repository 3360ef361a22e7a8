"""A project that lists code of its own."""

import pytest


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty folder to work in, like a project that adds nothing of its own yet."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
