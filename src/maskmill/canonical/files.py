"""Files that are whole or absent, and file names that cannot leave their folder."""

import codecs
import hashlib
import json
import os
import shutil
import tempfile
import textwrap
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath
from typing import Any

from maskmill.canonical.limits import how_to_raise, limit

# UTF-32 first, since the mark of UTF-16 is the start of that of UTF-32.
ENCODING_OF_MARK = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}


def write_bytes(path: Path, data: bytes) -> Path:
    """Write `data` so that `path` is always either the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A short name, since that of the file may be as long as the file system allows.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        temporary.chmod(0o644)  # mkstemp makes 0600, which another user's server cannot read
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # a full disk, for example
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    return path


def write_text(path: Path, text: str) -> Path:
    """Write UTF-8 text, whole or not at all."""
    return write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> Path:
    """Write `value` as indented JSON, whole or not at all.

    Raises:
        ValueError: `value` contains NaN or infinity, which JSON cannot represent.
    """
    return write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def link_file(source: Path, target: Path) -> None:
    """Give a file a second path: a hard link, or a copy where the file system has none.

    Args:
        source: the file.
        target: does not exist; its parents are created.

    Raises:
        FileNotFoundError: `source` does not exist.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)


def file_digest(path: Path) -> str:
    """The sha256 of a file's bytes.

    Raises:
        FileNotFoundError: the file does not exist.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json_list(path: Path, items: Iterable[Any]) -> Path:
    """Write the same bytes as `write_json` of a list, item by item, in constant memory.

    Raises:
        ValueError: an item contains NaN or infinity.
    """
    separator = "[\n"
    with path.open("w", encoding="utf-8") as file:
        for item in items:
            text = json.dumps(item, indent=1, allow_nan=False)
            file.write(separator + textwrap.indent(text, " "))
            separator = ",\n"
        file.write("[]\n" if separator == "[\n" else "\n]\n")
    return path


def read_text(path: Path, *, expected: str = "a text file") -> str:
    """Read a text file in UTF-8, or in the encoding that its byte order mark names.

    Args:
        path: the file.
        expected: what it is, for messages.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is larger than MASKMILL_MAX_TEXT_MB, or not text.
    """
    require_text_file(path, expected=expected)
    return decode_text(path.read_bytes(), str(path), expected=expected)


def require_text_file(path: Path, *, expected: str) -> None:
    """Refuse a text file that is absent or too large, before it is read; see `read_text`.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is larger than MASKMILL_MAX_TEXT_MB.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected {expected} here, but there is none - check the path"
        )
    name = "MASKMILL_MAX_TEXT_MB"
    megabytes = path.stat().st_size / 1_000_000
    if megabytes > limit(name):
        raise ValueError(
            f"{path}: expected {expected} of at most {limit(name):,} MB, but got {megabytes:,.0f} "
            f"MB - either divide it into several files or {how_to_raise(name)}"
        )


def has_mark(path: Path) -> bool:
    """Whether a file begins with a byte order mark."""
    with path.open("rb") as file:
        return file.read(4).startswith(tuple(ENCODING_OF_MARK))


def decode_text(data: bytes, where: str, *, expected: str = "a text file") -> str:
    """Decode the bytes of a text file; see `read_text`.

    Raises:
        ValueError: the bytes are not text in UTF-8, or in the encoding of their byte order mark.
    """
    marks = [mark for mark in ENCODING_OF_MARK if data.startswith(mark)]
    encoding = ENCODING_OF_MARK[marks[0]] if marks else "utf-8"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{where}: expected {expected} in UTF-8, but its bytes do not decode ({error}) - "
            "save it as UTF-8"
        ) from error
    if "\0" in text:
        raise ValueError(
            f"{where}: expected {expected} in UTF-8, but it contains zero bytes, as binary files "
            "and UTF-16 without a byte order mark do - save it as UTF-8"
        )
    return text


def read_json(path: Path) -> Any:
    """Read a JSON file; the error message of a broken one contains the file and the line.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not JSON, too large, nested too deeply, or repeats a key.
    """
    return parse_json(read_text(path, expected="a JSON file"), str(path))


def parse_json(text: str, where: str) -> Any:
    """The value of a JSON text; see `read_json`.

    Raises:
        ValueError: the text is not JSON, nested too deeply, or repeats a key.
    """
    try:
        return json.loads(text, object_pairs_hook=distinct_keys)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{where}: expected JSON, but found {error} - either correct the file or write it again"
        ) from error


def distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, of whose repeated keys Python would silently keep the last.

    Raises:
        ValueError: a key is repeated.
    """
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in values if keys.count(key) > 1)
        raise ValueError(f"the key {repeated!r} twice in one object")
    return values


def inside(root: Path, name: str) -> Path:
    """Join `root` and a file name that was read from a data file.

    Raises:
        ValueError: the name is absolute or contains "..", in the form of any system, so that it may
            leave `root`; or it contains a zero byte.

    Example:
        >>> inside(Path("images"), "aachen/1.png").as_posix()
        'images/aachen/1.png'
    """
    windows = PureWindowsPath(name)  # separates at both slashes
    is_absolute = Path(name).is_absolute() or windows.is_absolute()
    if is_absolute or ".." in windows.parts or "\0" in name:
        raise ValueError(
            f"{root}: file name {name!r} leaves the data folder - "
            "use names relative to it, without '..'"
        )
    return root / name
