"""Folders: those a source reads must be there, those we write must be ours to replace."""

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


def require_own(path: Path, mark: str, setting: str) -> Path:
    """Hand a folder to write through, if nothing of anybody else's is lost by that.

    Args:
        path: the folder.
        mark: the file that tells a folder we wrote.
        setting: where the path is configured.

    Raises:
        ValueError: there is a file, or a folder of other things.
    """
    taken = path.exists() and (not path.is_dir() or any(path.iterdir()))
    if taken and not (path / mark).is_file():
        raise ValueError(
            f"{path}: expected a new folder, or an earlier one with {mark}, but found other files - choose another `{setting}`"
        )
    return path
