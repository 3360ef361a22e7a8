import io
import shutil
import tarfile

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


def test_an_archive_with_names_outside_its_folder_is_refused(tmp_path):
    with tarfile.open(tmp_path / "data", "w") as tape:
        tape.addfile(tarfile.TarInfo("../escaped"), io.BytesIO())
    with pytest.raises(ValueError, match="plain files"), unpacked(tmp_path / "data"):
        pass
    assert not (tmp_path.parent / "escaped").exists()


def test_another_file_is_refused(tmp_path):
    (tmp_path / "data").write_text("not an archive")
    with (
        pytest.raises(ValueError, match="zip or tar file of one, but it is neither"),
        unpacked(tmp_path / "data"),
    ):
        pass
