"""Long JSON files read row by row: the same values and the same messages as `read_json`."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.canonical.files import read_json
from maskmill.canonical.json_rows import JsonRows, read_json_rows
from maskmill.canonical.plain_rows import CHUNK, MAX_WAITING, is_object, plain_rows

TABLES = ("images", "annotations")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
CONTENTS = st.fixed_dictionaries(
    {"images": st.lists(VALUES, max_size=4)},
    optional={"annotations": VALUES, "info": VALUES, "\ud800": st.just(1)},
)


def plain(content):
    """The content with its tables as lists."""
    values = {}
    for key, value in content.items():
        values[key] = list(value) if isinstance(value, JsonRows) else value
    return values


@given(content=CONTENTS, indent=st.sampled_from([None, 0, 1, "\t"]), ascii=st.booleans())
def test_any_object_has_the_values_of_read_json(tmp_path_factory, content, indent, ascii):
    path = tmp_path_factory.mktemp("rows") / "a.json"
    text = json.dumps(content, indent=indent, ensure_ascii=ascii)
    path.write_bytes(text.encode(errors="replace"))
    read = read_json_rows(path, TABLES)
    assert isinstance(read["images"], JsonRows)
    assert plain(read) == read_json(path)


ROW = {
    "segmentation": [[1.5, 2.25, -3e-7, 12]],
    "caption": 'a:b \\"é',
    "iscrowd": 0,
    "image_id": 17,
    "nothing": None,
    "yes": True,
}
SEGMENTS = {"segments_info": [{"id": 1, "bbox": [1, 2]}, {"id": 2}], "file_name": "a.png"}
ROWS = json.dumps(
    {"images": [ROW, {"id": 1}, SEGMENTS, {"size": {"w": 2}}, ROW, {"a": "}, {"}, ROW]}
).encode()
TOKENS = [
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\u", b"\\ud800", b"0", b"-", b".", b"e"),
    *(b"NaN", b"-Infinity", b"null", b"\0", b"\x1f", b"\x7f", b"\x80", b"\xff", b"\xed\xa0\x80"),
    *(
        b" ",
        b"\n",
        b"\x0b",
        b"\xc2\xa0",
        b"01",
        b"1.",
        b"//",
        b'"id": 1, ',
        b"9" * 5000,
        b"[" * 2000,
    ),
]


@given(
    first=st.integers(0, len(ROWS)),
    removed=st.integers(0, 3),
    token=st.sampled_from([b"", *TOKENS]),
)
def test_damaged_text_has_the_values_or_the_message_of_read_json(
    tmp_path_factory, first, removed, token
):
    path = tmp_path_factory.mktemp("rows") / "a.json"
    path.write_bytes(ROWS[:first] + token + ROWS[first + removed :])
    assert outcome(lambda: plain(read_json_rows(path, TABLES))) == outcome(lambda: read_json(path))


def outcome(read):
    """What is read, as text, since NaN equals nothing; or the message."""
    try:
        return repr(read())
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("row", [ROW, SEGMENTS])
def test_objects_are_found_without_decoding_them(row):
    text = json.dumps([row] * 10_000).encode()
    found = list(plain_rows(io.BytesIO(text), 1))
    assert len(found) == 9_999
    assert {text[start:stop] for start, stop in found} == {json.dumps(row).encode()}


def test_what_seems_to_be_one_long_object_is_left_to_the_caller():
    text = b"[" + b'{"a": "{"}, ' * (4 * MAX_WAITING // 12)
    file = io.BytesIO(text)
    assert list(plain_rows(file, 1)) == []
    assert file.tell() < len(text)


@pytest.mark.parametrize(
    "text",
    [
        b'{"id": 1, "id": 2}',
        b'{"id": 1, "\\u0069d": 2}',
        b'{"size": {"w": 1, "w": 2}}',
        b'{"a": [{"w": 1, "w": 2}]}',
        b'{"id": ' + b"9" * 5000 + b"}",
        b'{"id": "\xed\xa0\x80"}',
        b'{"id": "\x1f"}',
        b'{"id": 01}',
        b"[1]",
    ],
)
def test_what_read_json_would_refuse_is_no_object(text):
    assert not is_object(text)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_rows_across_the_chunks_of_a_file_are_whole(tmp_path, encoding):
    rows = [{"id": index, "file_name": "ä€𝄞" * (index % 50)} for index in range(3000)]
    rows.insert(7, {"file_name": "x" * 3 * CHUNK})
    rows += [1234567890, -1.5e-7, [], "", None]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"images": rows}, ensure_ascii=False), encoding=encoding)
    assert path.stat().st_size > 4 * CHUNK
    read = read_json_rows(path, TABLES)["images"]
    assert list(read) == rows
    assert (read[8], read[-1], read[6:8], len(read)) == (rows[8], None, rows[6:8], len(rows))


@pytest.mark.parametrize(
    "text",
    [
        b'{"images": [1,]}',
        b'{"images": [1 2]}',
        b'{"images": [1}',
        b'{"images": [1], }',
        b'{"images": [1]',
        b'{"images": [{"a": 1, "a": 2}]}',
        b'{"images": [], "images": []}',
        b'{"images": [01]}',
        b'{"images": ["\t"]}',
        b'{"images": [1]} x',
        b"{1: [1]}",
        b'{"images" [1]}',
        b'{"images": ["\xff"]}',
        b'{"images": [1]}\0',
        b"",
        b'{"images": ' + b"[" * 100_000,
        b'{"images": [' + b'{"a":' * 100_000,
        b'{"images": [' + b"9" * 5000 + b"]}",
    ],
)
def test_a_broken_file_has_the_message_of_read_json(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=r"a\.json: expected ") as expected:
        read_json(path)
    with pytest.raises(ValueError, match=r"a\.json: expected ") as found:
        read_json_rows(path, TABLES)
    assert str(found.value) == str(expected.value)


def test_what_is_no_object_or_no_list_is_read_as_it_is(tmp_path):
    path = tmp_path / "a.json"
    for content in ([1, 2], "a", 7, {"images": {"a": [1]}, "annotations": None}):
        path.write_text(json.dumps(content))
        assert read_json_rows(path, TABLES) == content


def test_a_file_that_changed_is_refused(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"images": [1, 2]}')
    rows = read_json_rows(path, TABLES)["images"]
    path.write_text('{"images": [1, 23]}')
    message = r"a\.json: expected the file as it was read before, but it has changed - run the"
    for read in (lambda: rows[0], lambda: list(rows)):
        with pytest.raises(ValueError, match=message):
            read()
