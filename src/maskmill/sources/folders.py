"""Folders that a source reads."""

from pathlib import Path


def require_folder(path: Path) -> Path:
    """Hand a folder through if it is one.

    Raises:
        FileNotFoundError: it is not there, or is a file.
    """
    if not path.is_dir():
        raise FileNotFoundError(
            f"{path}: expected a folder of the data set here, but there is none - check `source.root` and conf/source"
        )
    return path
