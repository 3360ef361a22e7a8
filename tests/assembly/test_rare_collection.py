"""How often Python searches for garbage."""

import gc

import pytest

from maskmill.assembly.rare_collection import rare_collection


def searches():
    """How often Python searches while ten thousand objects are made and kept."""
    before = gc.get_stats()[0]["collections"]
    kept = [[] for _ in range(10_000)]
    assert len(kept) == 10_000
    return gc.get_stats()[0]["collections"] - before


def read_a_file_that_is_missing(path):
    with rare_collection():
        assert searches() == 0
        path.read_bytes()


def test_new_objects_are_searched_rarely_inside_and_as_before_after_an_error(tmp_path):
    before = gc.get_threshold()
    with pytest.raises(FileNotFoundError):
        read_a_file_that_is_missing(tmp_path / "none")
    assert gc.get_threshold() == before
    assert searches() > 0
