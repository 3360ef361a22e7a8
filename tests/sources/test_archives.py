import gzip
import io
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path
from tarfile import CHRTYPE as CHR
from tarfile import FIFOTYPE as FIFO
from tarfile import LNKTYPE as LNK
from tarfile import REGTYPE as REG
from tarfile import SYMTYPE as SYM

import numpy as np
import pytest

from maskmill.sources.archives import unpacked


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "set" / "images").mkdir(parents=True)
    (tmp_path / "set" / "images" / "a.png").write_bytes(b"a")
    return tmp_path / "set"


def test_a_folder_is_used_as_it_is(folder):
    with unpacked(folder) as root:
        assert root == folder


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_an_archive_of_any_name_is_unpacked_and_then_removed(folder, tmp_path, kind):
    made = shutil.make_archive(str(tmp_path / "made"), kind, folder)
    data = shutil.move(made, tmp_path / "data")  # as DVC names it
    with unpacked(data) as root:
        assert (root / "images" / "a.png").read_bytes() == b"a"
    assert not root.exists()


def zip_of(path, *members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def zip_link(path):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    return zip_of(path, (link, "/etc"), ("link/escaped", "x"))


def zip_with_password(path):
    data = bytearray(zip_of(path, ("a", b"x")).read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(signature) + offset] |= 1  # the flag "encrypted"
    path.write_bytes(data)
    return path


def zip_damaged(path):
    noise = np.random.default_rng(0).bytes(1000)
    data = bytearray(zip_of(path, ("a", noise)).read_bytes())
    data[500] ^= 255
    path.write_bytes(data)
    return path


def tar_of(path, *members):
    with tarfile.open(path, "w") as archive:
        for name, kind, target in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            member.linkname = target
            archive.addfile(member, io.BytesIO())
    return path


def tar_cut(path):
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("a")
        member.size = 100_000
        archive.addfile(member, io.BytesIO(np.random.default_rng(0).bytes(100_000)))
    path.write_bytes(path.read_bytes()[:50_000])
    return path


PLAIN = "expected an archive of plain files inside one folder, but it contains"
HOSTILE = [
    pytest.param(lambda path: zip_of(path, ("../../escaped", "x")), PLAIN, id="zip-parent"),
    pytest.param(lambda path: zip_of(path, ("/tmp/escaped", "x")), PLAIN, id="zip-absolute"),
    pytest.param(lambda path: zip_of(path, ("..\\escaped", "x")), PLAIN, id="zip-backslash"),
    pytest.param(lambda path: zip_of(path, ("C:\\escaped", "x")), PLAIN, id="zip-drive"),
    pytest.param(zip_link, PLAIN, id="zip-link"),
    pytest.param(lambda path: tar_of(path, ("../escaped", REG, "")), PLAIN, id="tar-parent"),
    pytest.param(lambda path: tar_of(path, ("/tmp/escaped", REG, "")), PLAIN, id="tar-absolute"),
    pytest.param(lambda path: tar_of(path, ("l", SYM, "/tmp")), PLAIN, id="tar-symbolic-link"),
    pytest.param(lambda path: tar_of(path, ("l", LNK, "/etc/hosts")), PLAIN, id="tar-hard-link"),
    pytest.param(lambda path: tar_of(path, ("d", CHR, "")), PLAIN, id="tar-device"),
    pytest.param(lambda path: tar_of(path, ("f", FIFO, "")), PLAIN, id="tar-pipe"),
    pytest.param(zip_with_password, "without a password, but got .*encrypted", id="password"),
    pytest.param(zip_damaged, "expected a complete archive", id="zip-damaged"),
    pytest.param(tar_cut, "expected a complete archive", id="tar-truncated"),
    pytest.param(
        lambda path: zip_of(path, ("a", "x"), ("a/b", "x")),
        "of files that have names of their own",
        id="file-and-folder",
    ),
    pytest.param(lambda path: zip_of(path, ("n" * 300, "x")), "File name too long", id="long-name"),
]


@pytest.mark.parametrize(("make", "message"), HOSTILE)
def test_a_hostile_or_damaged_archive_is_refused_and_leaves_nothing(
    tmp_path, monkeypatch, make, message
):
    path = make(tmp_path / "data")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    with pytest.raises(ValueError, match=rf"data: .*{message}.* - "), unpacked(path):
        pass
    assert list((tmp_path / "temporary").iterdir()) == []
    assert not list(tmp_path.glob("*escaped*")) + list(Path("/tmp").glob("*escaped*"))


@pytest.fixture(scope="module")
def zeros(tmp_path_factory):
    """Archives of a few kilobytes that unpack to 200 MB and more; one says that it has 1 byte."""
    folder = tmp_path_factory.mktemp("zeros")
    block = zlib.compressobj(9, zlib.DEFLATED, 31)
    data = block.compress(bytes(1 << 20)) + block.flush()
    member = tarfile.TarInfo("zeros")
    member.size = 200 << 20
    # gzip files may be joined
    (folder / "tar").write_bytes(gzip.compress(member.tobuf()) + data * 200)
    with zipfile.ZipFile(folder / "zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(110_000_000))
    content = bytearray((folder / "zip").read_bytes())
    size = struct.pack("<I", 110_000_000)
    for _ in range(2):  # in the header of the member and in the directory
        start = content.index(size)
        content[start : start + 4] = struct.pack("<I", 1)
    (folder / "lying").write_bytes(content)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_an_archive_that_would_fill_the_disk_is_refused(zeros, kind):
    message = (
        rf"{kind}: expected an archive that unpacks to at most 200 times its size, .* either "
        r"unpack it and set `source.root` to the folder, or set the environment variable "
        r"MASKMILL_MAX_UNPACKED_RATIO to a larger number"
    )
    with pytest.raises(ValueError, match=message), unpacked(zeros / kind):
        pass


def test_a_zip_file_whose_header_lies_does_not_unpack(zeros):
    message = "lying: expected a complete archive"
    with pytest.raises(ValueError, match=message), unpacked(zeros / "lying"):
        pass


def test_the_number_of_files_is_limited(tmp_path, monkeypatch):
    path = zip_of(tmp_path / "data", ("a", "x"), ("b", "x"))
    monkeypatch.setenv("MASKMILL_MAX_UNPACKED_FILES", "1")
    message = "at most 1 files, but it contains more - either unpack"
    with pytest.raises(ValueError, match=message), unpacked(path):
        pass
    monkeypatch.setenv("MASKMILL_MAX_UNPACKED_FILES", "2")
    with unpacked(path) as root:
        assert sorted(file.name for file in root.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_the_unpacked_size_is_limited(folder, tmp_path, monkeypatch, kind):
    (folder / "noise").write_bytes(np.random.default_rng(0).bytes(1000))  # and one byte in a.png
    path = shutil.make_archive(str(tmp_path / "made"), kind, folder)
    monkeypatch.setattr("maskmill.sources.archives.GIGABYTE", 1000)
    monkeypatch.setenv("MASKMILL_MAX_UNPACKED_GB", "1")
    message = "unpacks to at most 1 GB, but it contains more - either"
    with pytest.raises(ValueError, match=message), unpacked(Path(path)):
        pass


def test_another_file_is_refused(tmp_path):
    (tmp_path / "data").write_text("not an archive")
    with (
        pytest.raises(ValueError, match="zip or tar file of one, but it is neither"),
        unpacked(tmp_path / "data"),
    ):
        pass


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_tar_header_that_would_fill_the_memory_is_refused(tmp_path, kind):
    header = tarfile.TarInfo("././@Header")
    header.type = kind
    header.size = 8 * 2**30  # of the content that tarfile would read as a whole
    path = tmp_path / "data"
    path.write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    message = r"data: expected headers of at most 1048576 bytes"
    with pytest.raises(ValueError, match=message), unpacked(path):
        pass
