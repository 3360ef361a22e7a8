"""Raw data that came as one archive file, as an import over HTTP does: a million small files are slow to fetch and to track."""

import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def unpacked(root: Path) -> Iterator[Path]:
    """The folder of a data set: `root` itself, or what the archive of that name holds, unpacked for as long as it is needed.

    Args:
        root: a folder, or a zip or tar file (compressed or not), whatever its ending.

    Yields:
        the folder; an archive holds what the folder holds, not the folder itself.

    Raises:
        ValueError: the file is no archive, or one whose names leave the folder they are unpacked to.
    """
    if not root.is_file():
        yield root  # where it is missing, the source says so
        return
    with tempfile.TemporaryDirectory(prefix="maskmill-") as temporary:
        folder = Path(temporary)
        if zipfile.is_zipfile(root):
            with zipfile.ZipFile(root) as packed:
                packed.extractall(folder)
        elif tarfile.is_tarfile(root):
            with tarfile.open(root) as tape:
                members = tape.getmembers()
                _require_plain(root, members)
                tape.extractall(folder, members)  # its own `filter` is younger than Python 3.11.0
        else:
            raise ValueError(
                f"{root}: expected a folder, or a zip or tar file of one, but it is neither - check data.dvc or `source.root`"
            )
        yield folder


def _require_plain(root: Path, members: list[tarfile.TarInfo]) -> None:
    """Refuse links, devices and names that leave the folder; zipfile takes such names apart by itself."""
    for member in members:
        path = Path(member.name)
        if not (member.isfile() or member.isdir()) or path.is_absolute() or ".." in path.parts:
            raise ValueError(
                f"{root}: expected an archive of plain files inside one folder, but it holds {member.name!r} - pack the folder again"
            )
