import subprocess
import sys
from pathlib import Path

import pytest

from maskmill.canonical.output_folder import MARK, replaced_folder, require_replaceable


def write(out, *names, stage="predict", text="new"):
    with replaced_folder(out, written_by=stage) as folder:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
    return out


def files(folder):
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def require_refused(out, message, **options):
    """Both the check before the work and the writer itself refuse, and nothing is touched."""
    before = files(out.parent)
    options = {"written_by": "predict"} | options
    with pytest.raises(ValueError, match=message):
        require_replaceable(out, **options)
    with pytest.raises(ValueError, match=message), replaced_folder(out, **options):
        pass
    assert files(out.parent) == before


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    out = write(tmp_path / "deep" / "out", "a.txt", "b/c.txt")
    write(out, "d.txt")
    assert set(files(out)) == {MARK, "d.txt"}
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_an_empty_folder_is_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    assert set(files(write(tmp_path / "out", "a.txt"))) == {MARK, "a.txt"}


def test_a_relative_path_is_written_where_the_command_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Path("out"), "a.txt")
    assert (tmp_path / "out" / "a.txt").is_file()


def test_the_mark_has_the_same_bytes_on_every_machine(tmp_path):
    one = write(tmp_path / "one", "b/c.txt", "a.txt", text="x")
    two = write(tmp_path / "elsewhere" / "two", "a.txt", "b/c.txt", text="y")
    assert (one / MARK).read_bytes() == (two / MARK).read_bytes()


OTHER_FILES = ["notes.txt", "b/notes.txt", "b/deep/notes.txt", ".hidden"]


@pytest.mark.parametrize("name", OTHER_FILES)
def test_a_file_added_by_the_user_is_never_deleted(tmp_path, name):
    out = write(tmp_path / "out", "a.txt", "b/c.txt")
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_text("mine")
    shown = name.split("/")[0]
    require_refused(out, rf"out: .* found added, removed or renamed files in it \({shown}\)")


def test_a_file_exchanged_for_one_of_the_user_is_never_deleted(tmp_path):
    out = write(tmp_path / "out", "b/c.txt", "b/d.txt")
    (out / "b" / "c.txt").rename(out / "b" / "mine.txt")
    require_refused(out, r"found added, removed or renamed files in it \(b\)")


def test_an_entry_that_the_user_deleted_does_not_matter(tmp_path):
    out = write(tmp_path / "out", "a.txt", "b/c.txt")
    (out / "a.txt").unlink()
    assert set(files(write(out, "d.txt"))) == {MARK, "d.txt"}


def test_a_file_added_while_the_stage_works_is_never_deleted(tmp_path):
    out = write(tmp_path / "out", "a.txt")
    writer = replaced_folder(out, written_by="predict")
    (writer.__enter__() / "b.txt").write_text("new")
    (out / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="found added, removed or renamed files"):
        writer.__exit__(None, None, None)
    assert set(files(out)) == {MARK, "a.txt", "mine.txt"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_without_a_mark_is_refused(tmp_path):
    for index in range(7):
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / f"{index}.jpg").write_text("photo")
    require_refused(
        tmp_path / "out",
        r"found other files \(0\.jpg, 1\.jpg, 2\.jpg, 3\.jpg, 4\.jpg, and 2 more\) - "
        r"either set `predict\.out` to a new folder or move this one away",
    )


DAMAGED_MARKS = ["", "[]", "{}", '{"written_by": "predict", "entries": 3}', "\x00\x80"]
DAMAGED_MARKS += ['{"written_by": "predict", "entries": {"a.txt": "0"}}']


@pytest.mark.parametrize("mark", DAMAGED_MARKS)
def test_a_folder_with_a_damaged_mark_is_replaced_by_one_with_the_same_names(
    tmp_path, caplog, mark
):
    whole = files(write(tmp_path / "out", "a.txt", "b/c.txt"))
    (tmp_path / "out" / MARK).write_text(mark)
    write(tmp_path / "out", "a.txt", "b/c.txt")
    assert files(tmp_path / "out") == whole
    assert "out: expected a mark in .maskmill.json, but it is damaged" in caplog.text


@pytest.mark.parametrize("mark", DAMAGED_MARKS)
def test_a_folder_with_a_damaged_mark_and_files_of_others_is_refused(tmp_path, mark):
    write(tmp_path / "out", "a.txt", "b/mine.txt")
    (tmp_path / "out" / MARK).write_text(mark)
    with pytest.raises(ValueError, match=r"removed or renamed files in it \(b\)"):
        write(tmp_path / "out", "a.txt", "b/c.txt")
    assert (tmp_path / "out/b/mine.txt").read_text() == "new"


def test_the_output_of_another_stage_is_refused(tmp_path):
    out = write(tmp_path / "out", "a.txt", stage="prepare")
    require_refused(out, "but `maskmill prepare` wrote it")


def test_a_file_is_refused(tmp_path):
    (tmp_path / "out").write_text("mine")
    require_refused(tmp_path / "out", "found a file")


@pytest.mark.parametrize("is_dangling", [False, True])
def test_a_symbolic_link_is_refused(tmp_path, is_dangling):
    if not is_dangling:
        write(tmp_path / "elsewhere", "a.txt")
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    require_refused(tmp_path / "out", "found a symbolic link")


@pytest.mark.parametrize("below", [".", "sub/deep"])
def test_the_current_directory_and_its_parents_are_refused(tmp_path, monkeypatch, below):
    out = write(tmp_path / "out", "sub/deep/a.txt")
    monkeypatch.chdir(out / below)
    require_refused(out, "found the current directory or a parent of it")


@pytest.mark.parametrize("name", [".", "b", "b/c.txt"])
def test_a_folder_that_contains_an_input_is_refused(tmp_path, name):
    out = write(tmp_path / "out", "b/c.txt")
    require_refused(out, "it contains the input", inputs=[tmp_path, out / name])


def test_a_failure_leaves_the_old_folder_whole_and_nothing_else(tmp_path):
    out = write(tmp_path / "out", "a.txt")
    before = files(tmp_path)

    def fill():
        with replaced_folder(out, written_by="predict") as folder:
            (folder / "b.txt").write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill()
    assert files(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_second_writer_is_refused_and_the_first_one_finishes(tmp_path):
    with replaced_folder(tmp_path / "out", written_by="predict") as folder:
        (folder / "a.txt").write_text("first")
        with pytest.raises(ValueError, match="another process is writing this folder"):
            write(tmp_path / "out", "b.txt")
    assert set(files(tmp_path / "out")) == {MARK, "a.txt"}
    write(tmp_path / "out", "b.txt")


KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
from maskmill.canonical import output_folder
class Killing(type(Path())):
    def rename(self, target):
        if self.name == "new":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().rename(target)
if sys.argv[2] == "between the renames":
    swap = output_folder._swap
    output_folder._swap = lambda target, new, old: swap(target, Killing(new), old)
with output_folder.replaced_folder(Path(sys.argv[1]), written_by="predict") as folder:
    (folder / "b.txt").write_text("new")
    if sys.argv[2] == "while writing":
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("moment", ["while writing", "between the renames"])
def test_after_a_killed_process_the_next_one_finds_the_old_folder_and_cleans_up(tmp_path, moment):
    out = write(tmp_path / "out", "a.txt")
    command = [sys.executable, "-c", KILLED_WRITER, str(out), moment]
    assert subprocess.run(command, check=False).returncode == -9
    with (
        pytest.raises(RuntimeError, match="again"),
        replaced_folder(out, written_by="predict"),
    ):
        raise RuntimeError("again")
    assert set(files(out)) == {MARK, "a.txt"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
