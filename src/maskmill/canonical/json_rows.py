"""The long lists of large JSON files, whose rows stay in the file until they are asked for."""

import codecs
import io
import json
import os
import re
from array import array
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, overload

import msgspec

from maskmill.canonical.files import (
    distinct_keys,
    has_mark,
    read_json,
    read_text,
    require_text_file,
)
from maskmill.canonical.plain_rows import CHUNK, plain_rows

SPACE = re.compile(r"[ \t\n\r]*")
DECODER = json.JSONDecoder(object_pairs_hook=distinct_keys)


class JsonRows(Sequence[Any]):
    """A list of a JSON file, in 16 bytes per row: each is read and decoded when it is asked for.

    Args:
        path: the file.
        data: its text in UTF-8, if the file itself is in another encoding.
    """

    def __init__(self, path: Path, data: bytes | None) -> None:
        self._path = path
        self._data = data
        self._state = _state(path)
        self._starts = array("Q")
        self._stops = array("Q")

    def append(self, start: int, stop: int) -> None:
        """Add the row that these bytes of the file encode."""
        self._starts.append(start)
        self._stops.append(stop)

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return list(map(self.__getitem__, range(len(self))[index]))
        return decode_row(self.text(index))

    def __iter__(self) -> Iterator[Any]:
        return map(decode_row, self.texts())

    def text(self, index: int) -> bytes:
        """The JSON text of a row.

        Raises:
            ValueError: the file has changed.
        """
        start = self._starts[index]
        length = self._stops[index] - start
        if self._data is not None:
            return self._data[start : start + length]
        self._require_unchanged()
        handle = os.open(self._path, os.O_RDONLY)
        try:
            return os.pread(handle, length, start)
        finally:
            os.close(handle)

    def texts(self) -> Iterator[bytes]:
        """The JSON text of each row; see `text`."""
        self._require_unchanged()
        with _open(self._path, self._data) as file:
            for start, stop in zip(self._starts, self._stops, strict=True):
                file.seek(start)
                yield file.read(stop - start)

    def _require_unchanged(self) -> None:
        if _state(self._path) != self._state:
            raise ValueError(
                f"{self._path}: expected the file as it was read before, but it has changed - "
                "run the command again"
            )


def decode_row(text: bytes) -> Any:
    """The value of a row; msgspec has the same ones in less time, but no NaN or infinity."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return json.loads(text)


def _open(path: Path, data: bytes | None) -> BinaryIO:
    return path.open("rb") if data is None else io.BytesIO(data)


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def read_json_rows(path: Path, tables: Collection[str]) -> Any:
    """Read a JSON file as `read_json` does, but leave the rows of long lists in the file.

    Args:
        path: the file.
        tables: keys of the object that it contains; their lists become `JsonRows`.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not JSON, too large, nested too deeply, or repeats a key.
    """
    require_text_file(path, expected="a JSON file")
    data = read_text(path, expected="a JSON file").encode() if has_mark(path) else None
    try:
        with _open(path, data) as file:
            return _Scanner(file).object(tables, path, data)
    except (ValueError, RecursionError):
        return read_json(path)  # no object, or it says what is wrong, and in which line


class _Scanner:
    """Reads JSON text in UTF-8, of which only a part is in memory at a time."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._text = ""
        self._index = 0  # of the next character in the text
        self._offset = 0  # of the next byte in the file
        self._is_complete = False

    def object(self, tables: Collection[str], path: Path, data: bytes | None) -> dict[str, Any]:
        """The value of the text, which is one object; see `read_json_rows`."""
        pairs: list[tuple[str, Any]] = []
        for _ in self._items("{", "}"):
            key, _, _ = self._value()
            self._expect(":")
            if not isinstance(key, str):
                raise ValueError("a key that is no text")
            if key in tables and self._peek() == "[":
                rows = JsonRows(path, data)
                for start, stop in self._rows():
                    rows.append(start, stop)
                pairs.append((key, rows))
            else:
                value, _, _ = self._value()
                pairs.append((key, value))
        if self._peek():
            raise ValueError("text behind the object")
        return distinct_keys(pairs)

    def _rows(self) -> Iterator[tuple[int, int]]:
        """The bytes of the file in which each item of a list begins and ends."""
        self._expect("[")
        if self._peek() == "{":
            behind = None
            for start, stop in plain_rows(self._file, self._offset):
                yield start, stop
                behind = stop
            self._continue_at(self._offset if behind is None else behind)
            if behind is not None:
                self._expect(",")
        for _ in self._items_until("]"):
            _, start, stop = self._value()
            yield start, stop

    def _continue_at(self, offset: int) -> None:
        """Go on at this byte of the file, where a character begins."""
        self._file.seek(offset)
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._text = ""
        self._index = 0
        self._offset = offset
        self._is_complete = False

    def _items(self, first: str, last: str) -> Iterator[None]:
        """Stop at each item of a list or object, which the caller reads."""
        self._expect(first)
        yield from self._items_until(last)

    def _items_until(self, last: str) -> Iterator[None]:
        """Stop at each item behind the first character; see `_items`."""
        if self._peek() != last:
            yield
            while self._peek() == ",":
                self._expect(",")
                yield
        self._expect(last)

    def _expect(self, character: str) -> None:
        if self._peek() != character:
            raise ValueError(f"no {character}")
        self._index += 1
        self._offset += 1

    def _peek(self) -> str:
        """The next character that is not white space; empty at the end."""
        while True:
            index = _skip_space(self._text, self._index)
            self._offset += index - self._index
            self._index = index
            if index < len(self._text) or not self._read_more():
                return self._text[index : index + 1]

    def _value(self) -> tuple[Any, int, int]:
        """The next value, and the bytes of the file in which it begins and ends."""
        self._peek()
        while True:
            try:
                value, stop = DECODER.raw_decode(self._text, self._index)
                follows = _skip_space(self._text, stop)
                is_whole = self._text[follows : follows + 1] in {",", "]", "}", ":"}
            except ValueError:
                if not self._read_more():
                    raise
                continue
            if is_whole or not self._read_more():
                break
        start = self._offset
        self._offset += len(self._text[self._index : stop].encode())
        self._index = stop
        return value, start, self._offset

    def _read_more(self) -> bool:
        """Read as much again as is waiting, so that a long value is not decoded often."""
        if self._is_complete:
            return False
        waiting = self._text[self._index :]
        data = self._file.read(max(CHUNK, len(waiting)))
        self._is_complete = not data
        self._text = waiting + self._decode(data, self._is_complete)
        self._index = 0
        return True


def _skip_space(text: str, index: int) -> int:
    match = SPACE.match(text, index)
    assert match is not None, "an expression that matches nothing too"
    return match.end()
