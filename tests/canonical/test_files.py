import pytest

from maskmill.canonical.files import inside, read_json, write_bytes, write_json


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(path, {"new": float("nan")})
    with pytest.raises(TypeError):
        write_bytes(path, "text")
    assert read_json(path) == {"old": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_a_written_file_is_readable_by_other_users(tmp_path):
    assert write_bytes(tmp_path / "deep" / "a", b"x").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("name", ["/etc/passwd", "../a.png", "a/../../b.png"])
def test_a_name_that_leaves_its_folder_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="leaves the data folder"):
        inside(tmp_path, name)


def test_a_missing_json_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.json: expected a JSON file here"):
        read_json(tmp_path / "a.json")
