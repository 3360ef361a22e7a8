"""Raw data that is one archive file, as an import over HTTP is.

A million small files are slow to download and to track.
"""

import errno
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from maskmill.canonical.files import inside
from maskmill.canonical.limits import how_to_raise, limit

BLOCK_BYTES = 1 << 20
MIN_RATIO_BYTES = 100_000_000  # less is harmless, whatever its ratio
MAX_EXTENSION_BYTES = 1 << 20  # a path has 4,096 at most; attributes of files have some more
EXTENSIONS = {
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
}
GIGABYTE = 1_000_000_000


@dataclass(frozen=True)
class Member:
    """An entry of an archive: its name, and its content, or None for a folder."""

    name: str
    content: IO[bytes] | None


class BoundedHeader(tarfile.TarInfo):
    """A header whose extension (a long name, pax records) is read only if it has a usual size."""

    def _proc_member(self, tar_file: tarfile.TarFile) -> tarfile.TarInfo:
        # tarfile's hook for types of members; it reads an extension as a whole into memory
        if self.type in EXTENSIONS and self.size > MAX_EXTENSION_BYTES:
            raise ValueError(
                f"{tar_file.name!s}: expected headers of at most {MAX_EXTENSION_BYTES} bytes, but "
                f"got one of {self.size} - pack the folder again"
            )
        header: tarfile.TarInfo = super()._proc_member(tar_file)  # type: ignore[misc]
        return header


@contextmanager
def unpacked(root: Path) -> Iterator[Path]:
    """The folder of a data set: `root` itself, or a temporary folder with the archive's content.

    Args:
        root: a folder, or a zip or tar file (compressed or not) with any suffix.

    Yields:
        the folder; an archive contains what the folder contains, not the folder itself.

    Raises:
        ValueError: the file is not an archive, is damaged, contains links or names outside its
            folder, or exceeds a limit of `canonical.limits`.
        OSError: the disk of the temporary folder is full.
    """
    if not root.is_file():
        yield root  # if it does not exist, the source reports it
        return
    with tempfile.TemporaryDirectory(prefix="maskmill-") as temporary:
        folder = Path(temporary)
        try:
            _unpack(root, folder)
        except (ValueError, MemoryError):
            raise
        except OSError as error:
            raise _explained(error, root, folder) from error
        except Exception as error:  # zlib, lzma, zipfile and tarfile have exceptions of their own
            raise ValueError(
                f"{root}: expected a complete archive without a password, but got {error} - "
                "either download it again or unpack it and set `source.root` to the folder"
            ) from error
        yield folder


def _unpack(root: Path, folder: Path) -> None:
    if zipfile.is_zipfile(root):
        with zipfile.ZipFile(root) as zip_file:
            infos = zip_file.infolist()
            # Headers may lie, so this spares only the work; `_write` counts.
            _require_space(root, folder, sum(info.file_size for info in infos))
            _write(root, folder, _zip_members(root, zip_file, infos))
    elif _is_tar(root):
        with tarfile.open(root, tarinfo=BoundedHeader) as tar_file:
            _write(root, folder, _tar_members(root, tar_file))
    else:
        raise ValueError(
            f"{root}: expected a folder, or a zip or tar file of one, but it is neither - "
            "check data.dvc or `source.root`"
        )


def _is_tar(root: Path) -> bool:
    """As tarfile.is_tarfile, which would read a header extension of any size."""
    try:
        with tarfile.open(root, tarinfo=BoundedHeader):
            return True
    except tarfile.TarError:
        return False


def _zip_members(
    root: Path, zip_file: zipfile.ZipFile, infos: Iterable[zipfile.ZipInfo]
) -> Iterator[Member]:
    for info in infos:
        kind = stat.S_IFMT(info.external_attr >> 16)  # 0 if the archive is from Windows
        if info.is_dir():
            yield Member(info.filename, None)
        elif kind in {0, stat.S_IFREG}:
            with zip_file.open(info) as content:
                yield Member(info.filename, content)
        else:
            raise _not_plain(root, info.filename)


def _tar_members(root: Path, tar_file: tarfile.TarFile) -> Iterator[Member]:
    while (info := tar_file.next()) is not None:
        tar_file.members.clear()  # type: ignore[attr-defined] # else it keeps all headers in memory
        if info.isdir():
            yield Member(info.name, None)
        elif info.isfile():
            yield Member(info.name, tar_file.extractfile(info))
        else:
            raise _not_plain(root, info.name)


def _write(root: Path, folder: Path, members: Iterable[Member]) -> None:
    """Write members below a folder; the limits apply to what is really unpacked."""
    num_bytes = 0
    for num_files, member in enumerate(members, start=1):
        _require_files(root, num_files)
        path = _target(root, folder, member.name)
        if member.content is None:
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            while block := member.content.read(BLOCK_BYTES):
                num_bytes += len(block)
                _require_size(root, num_bytes)
                file.write(block)


def _target(root: Path, folder: Path, name: str) -> Path:
    """The path of a member; folders are written with slashes by all programs but old ones."""
    try:
        return inside(folder, name.replace("\\", "/"))
    except ValueError as error:
        raise _not_plain(root, name) from error


def _not_plain(root: Path, name: str) -> ValueError:
    return ValueError(
        f"{root}: expected an archive of plain files inside one folder, but it contains {name!r} "
        "(a link, a device or a name outside the folder) - pack the folder again, with tar's "
        "options --dereference --hard-dereference"
    )


def _require_files(root: Path, num_files: int) -> None:
    name = "MASKMILL_MAX_UNPACKED_FILES"
    if num_files > limit(name):
        raise ValueError(
            f"{root}: expected an archive of at most {limit(name):,} files, but it contains more - "
            f"either unpack it and set `source.root` to the folder, or {how_to_raise(name)}"
        )


def _require_size(root: Path, num_bytes: int) -> None:
    name = "MASKMILL_MAX_UNPACKED_GB"
    if num_bytes > limit(name) * GIGABYTE:
        raise ValueError(
            f"{root}: expected an archive that unpacks to at most {limit(name):,} GB, but it "
            "contains more - either unpack it and set `source.root` to the folder, or "
            f"{how_to_raise(name)}"
        )
    name = "MASKMILL_MAX_UNPACKED_RATIO"
    if num_bytes > max(limit(name) * root.stat().st_size, MIN_RATIO_BYTES):
        raise ValueError(
            f"{root}: expected an archive that unpacks to at most {limit(name)} times its size, "
            "but it contains more, as archives do that are made to fill disks - either unpack it "
            f"and set `source.root` to the folder, or {how_to_raise(name)}"
        )


def _require_space(root: Path, folder: Path, num_bytes: int) -> None:
    _require_size(root, num_bytes)
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise OSError(
            errno.ENOSPC,
            f"expected {num_bytes / GIGABYTE:.1f} GB to unpack {root}, but {free / GIGABYTE:.1f} "
            "GB are free",
        )


def _explained(error: OSError, root: Path, folder: Path) -> Exception:
    """The error of a full disk, a name that no file can have, or a damaged archive, with paths."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return OSError(
            f"{root}: expected to unpack it to {folder}, but got: {error.strerror} - either free "
            "space there, set TMPDIR to another folder, or unpack the archive and set "
            "`source.root` to the folder"
        )
    return ValueError(
        f"{root}: expected a complete archive of files that have names of their own, but got "
        f"{error} - either download it again or pack the folder again"
    )
