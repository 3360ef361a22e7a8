"""Files that are whole or absent, and file names that cannot leave their folder."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any


def write_bytes(path: Path, data: bytes) -> Path:
    """Write `data` so that `path` is always either the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        temporary.chmod(0o644)  # mkstemp makes 0600, which another user's server cannot read
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
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


def read_json(path: Path) -> Any:
    """Read a JSON file; the error message of a broken one contains the file and the line.

    Raises:
        FileNotFoundError: the file does not exist.
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
            f"{path}: expected JSON, but found {error} - either correct the file or write it again"
        ) from error


def inside(root: Path, name: str) -> Path:
    """Join `root` and a file name that was read from a data file.

    Raises:
        ValueError: the name is absolute or contains "..", so that it may leave `root`.

    Example:
        >>> inside(Path("images"), "aachen/1.png").as_posix()
        'images/aachen/1.png'
    """
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(
            f"{root}: file name {name!r} leaves the data folder - "
            "use names relative to it, without '..'"
        )
    return root / name
