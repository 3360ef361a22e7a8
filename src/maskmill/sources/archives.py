"""Raw data that is one archive file, as an import over HTTP is.

A million small files are slow to download and to track.
"""

import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def unpacked(root: Path) -> Iterator[Path]:
    """The folder of a data set: `root` itself, or a temporary folder with the archive's content.

    Args:
        root: a folder, or a zip or tar file (compressed or not) with any suffix.

    Yields:
        the folder; an archive contains what the folder contains, not the folder itself.

    Raises:
        ValueError: the file is not an archive, or one with names outside its folder.
    """
    if not root.is_file():
        yield root  # if it does not exist, the source reports it
        return
    with tempfile.TemporaryDirectory(prefix="maskmill-") as temporary:
        folder = Path(temporary)
        if zipfile.is_zipfile(root):
            with zipfile.ZipFile(root) as zip_file:
                zip_file.extractall(folder)
        elif tarfile.is_tarfile(root):
            with tarfile.open(root) as tar_file:
                members = tar_file.getmembers()
                _require_plain(root, members)
                tar_file.extractall(folder, members)  # Python 3.11.0 has no argument `filter` yet
        else:
            raise ValueError(
                f"{root}: expected a folder, or a zip or tar file of one, but it is neither - "
                "check data.dvc or `source.root`"
            )
        yield folder


def _require_plain(root: Path, members: list[tarfile.TarInfo]) -> None:
    """Refuse links, devices and names outside the folder; zipfile makes such names safe itself."""
    for member in members:
        path = Path(member.name)
        is_plain = member.isfile() or member.isdir()
        if not is_plain or path.is_absolute() or ".." in path.parts:
            raise ValueError(
                f"{root}: expected an archive of plain files inside one folder, but it contains "
                f"{member.name!r} - pack the folder again"
            )
