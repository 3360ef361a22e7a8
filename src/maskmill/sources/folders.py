"""Checks of folders: those we read must exist, those we write must be ours to replace."""

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


def require_own(path: Path, mark: str, setting: str) -> Path:
    """Return a folder to write if replacing it deletes nothing that we did not write.

    Args:
        path: the folder.
        mark: the name of the file that every folder written by us contains.
        setting: the configuration key of the path, for the message.

    Raises:
        ValueError: `path` is a file, or a folder without `mark` that is not empty.
    """
    occupied = path.exists() and (not path.is_dir() or any(path.iterdir()))
    if occupied and not (path / mark).is_file():
        raise ValueError(
            f"{path}: expected a new folder, or an earlier one with {mark}, but found other files "
            f"- choose another `{setting}`"
        )
    return path
