"""Folders that a source reads: which files in them belong to the data set."""

import os
import unicodedata
from collections import Counter, deque
from collections.abc import Iterable
from pathlib import Path

from maskmill.sources.finding import Findings

IMAGE_SUFFIXES = {
    *(".png", ".jpg", ".jpeg", ".jfif", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".ppm", ".pgm"),
}
# Images that are not read. They get a note, since their absence is easily overlooked.
OTHER_IMAGE_SUFFIXES = {
    *(".heic", ".heif", ".avif", ".jp2", ".j2k", ".jxl", ".psd", ".svg", ".exr", ".hdr"),
    *(".dcm", ".dng", ".nef", ".cr2", ".cr3", ".arw", ".orf", ".raw"),
}
SYSTEM_NAMES = {"thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"}
NUM_SHOWN = 3  # names in a message


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


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name was made by a system, an editor or a notebook.

    Example:
        >>> [is_hidden(name) for name in ("a.jpg", "._a.jpg", ".ipynb_checkpoints", "Thumbs.db")]
        [False, True, True, True]
    """
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def visible_entries(folder: Path) -> list[Path]:
    """The files and folders in a folder that are not hidden, sorted.

    Raises:
        FileNotFoundError: the folder does not exist.
    """
    return sorted(path for path in require_folder(folder).iterdir() if not is_hidden(path.name))


def list_files(folder: Path, findings: Findings) -> list[Path]:
    """The files below a folder, sorted; symbolic links to folders are followed.

    Args:
        folder: an existing folder.
        findings: receives a note that counts hidden entries, which are left out; a note on each
            link to a folder that is listed already; an error for each unreadable folder.
    """
    files: list[Path] = []
    hidden: list[str] = []
    listed = {_identity(parent) for parent in folder.resolve().parents}
    # Links come last, so that files keep the names that they have without the links.
    folders = deque([folder])
    while folders:
        current = folders.popleft()
        if _identity(current) in listed:
            findings.note(
                current,
                "expected a link to another folder, but its files are listed already",
                "if that is intended, nothing: they are used once",
            )
            continue
        listed.add(_identity(current))
        for entry in _entries(current, findings):
            path = Path(entry.path)
            if is_hidden(entry.name):
                hidden.append(entry.name)
            elif entry.is_dir(follow_symlinks=False):
                folders.appendleft(path)
            elif entry.is_symlink() and path.is_dir():
                folders.append(path)
            else:
                files.append(path)
    if hidden:
        findings.note(
            folder,
            f"expected images and labels only, but found {len(hidden)} hidden or system files and "
            f"folders ({_examples(hidden)})",
            "if that is intended, nothing: they are left out",
        )
    return sorted(files)


def list_images(folder: Path, findings: Findings) -> list[Path]:
    """The images of `list_files`, by their suffix; a note counts those of other formats."""
    files = list_files(folder, findings)
    others = Counter(path.suffix.lower() for path in files)
    num_others = {suffix: others[suffix] for suffix in sorted(OTHER_IMAGE_SUFFIXES & others.keys())}
    if num_others:
        counts = ", ".join(f"{count} {suffix}" for suffix, count in num_others.items())
        findings.note(
            folder,
            f"expected images in {', '.join(sorted(IMAGE_SUFFIXES))}, but found {counts}",
            "convert them to PNG, or they are left out",
        )
    return [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]


def find_file(path: Path) -> Path:
    """The path of a file in the Unicode form that the file system has.

    macOS writes an umlaut as two characters (NFD) where lists and annotations have one (NFC).

    Returns:
        `path` if it exists or if nothing else is meant by it.
    """
    if str(path).isascii() or path.exists() or path == path.parent:
        return path
    parent = find_file(path.parent)
    if not parent.is_dir():
        return path
    wanted = normal_form(path.name)
    for entry in parent.iterdir():
        if normal_form(entry.name) == wanted:
            return entry
    return path


def normal_form(name: str) -> str:
    """A file name in Unicode's form NFC."""
    return unicodedata.normalize("NFC", name)


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _entries(folder: Path, findings: Findings) -> Iterable[os.DirEntry[str]]:
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        findings.error(
            folder,
            f"expected a folder that can be read, but got {error.strerror}",
            "change its permissions",
        )
        return []


def _examples(names: list[str]) -> str:
    more = ["..."] if len(names) > NUM_SHOWN else []
    return ", ".join(sorted(names)[:NUM_SHOWN] + more)
