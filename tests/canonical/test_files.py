import codecs

import pytest

from maskmill.canonical.files import inside, read_json, read_text, write_bytes, write_json


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


def test_a_name_as_long_as_the_file_system_allows_is_written(tmp_path):
    path = write_bytes(tmp_path / ("n" * 251 + ".png"), b"x")
    assert path.read_bytes() == b"x"


LEAVING = [
    *("/etc/passwd", "../a.png", "a/../../b.png"),
    *("C:\\\\data\\a.png", "C:/data/a.png", "..\\a.png", "\\\\server\\share\\a.png", "a\0.png"),
]


@pytest.mark.parametrize("name", LEAVING)
def test_a_name_that_leaves_its_folder_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="leaves the data folder"):
        inside(tmp_path, name)


def test_a_missing_json_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.json: expected a JSON file here"):
        read_json(tmp_path / "a.json")


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"]
MARKS = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}
MARKS["utf-32-be"] = codecs.BOM_UTF32_BE


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_text_is_read_in_the_encoding_of_its_byte_order_mark(tmp_path, encoding):
    path = tmp_path / "a.json"
    path.write_bytes(MARKS.get(encoding, b"") + '{"straße": 1}'.encode(encoding))
    assert read_text(path) == '{"straße": 1}'
    assert read_json(path) == {"straße": 1}


BAD_JSON = [
    pytest.param("straße".encode("latin-1"), "in UTF-8, but its bytes do not decode", id="latin-1"),
    pytest.param('{"a": 1}'.encode("utf-16-le"), "but it contains zero bytes", id="no-mark"),
    pytest.param(b"{'a': 1}", "line 1 column 2", id="quotes"),
    pytest.param(b"[" * 100_000, "recursion", id="depth"),
    pytest.param(b"9" * 5000, "4300 digits", id="digits"),
    pytest.param(b'{"a": {"id": 1, "b": 2, "id": 3}}', "the key 'id' twice", id="repeated-key"),
    pytest.param(b"[" + b" " * 1_000_000 + b"]", "of at most 1 MB, but got 1 MB", id="size"),
]


@pytest.mark.parametrize(("data", "found"), BAD_JSON)
def test_what_is_not_json_is_refused_by_its_name_with_a_fix(tmp_path, monkeypatch, data, found):
    monkeypatch.setenv("MASKMILL_MAX_TEXT_MB", "1")
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(ValueError, match=rf"a\.json: expected .*{found}.* - ") as caught:
        read_json(tmp_path / "a.json")
    assert caught.value.args[0].count(" - ") == 1


def test_a_limit_that_is_no_number_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("MASKMILL_MAX_TEXT_MB", "2 GB")
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(ValueError, match="MASKMILL_MAX_TEXT_MB, but got '2 GB' - either correct"):
        read_json(tmp_path / "a.json")
