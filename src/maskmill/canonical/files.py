"""Files that are whole or absent, and names that cannot leave their folder."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any


def write_bytes(path: Path, data: bytes) -> Path:
    """Write `data` so that `path` is either the old file or the whole new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(temporary).chmod(0o644)  # mkstemp makes 0600, which another user's server cannot read
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def write_text(path: Path, text: str) -> Path:
    """Write UTF-8 text, whole or not at all."""
    return write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> Path:
    """Write `value` as indented JSON, whole or not at all; NaN is refused, since JSON has none."""
    return write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; the error of a broken one names the file and the line.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not JSON.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected a JSON file here, but there is none - check the path"
        )
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: expected JSON, but found {error} - mend or write the file again"
        ) from error


def inside(root: Path, name: str) -> Path:
    """Join a file name that came from a data file, refusing one that leaves `root`.

    Raises:
        ValueError: the name is absolute or climbs out of `root`.
    """
    path = root / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(
            f"{root}: file name {name!r} leaves the data folder - use names relative to it, without '..'"
        )
    return path
