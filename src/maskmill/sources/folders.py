"""Folders that a source reads."""

from pathlib import Path


def require_folder(path: Path) -> Path:
    """Return `path` if it is a folder.

    Raises:
        FileNotFoundError: it does not exist, or is a file.
    """
    if not path.is_dir():
        raise FileNotFoundError(
            f"{path}: expected a folder of the data set, but it does not exist - "
            "check `source.root` and conf/source"
        )
    return path
