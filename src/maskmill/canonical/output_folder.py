"""Output folders: a stage replaces only what it wrote itself, as a whole or not at all.

Every folder that a stage writes contains the file `.maskmill.json`, its mark: the name of the stage
and, for each entry of the folder, a digest of the file names below it. A folder without a mark, or
with a name that its mark does not cover, contains files of somebody else and is never replaced.
The mark depends on nothing but these names, so it has the same bytes on every machine. A folder
whose mark is damaged is replaced only by one with the same file names.
"""

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from maskmill.canonical.files import read_json, write_json

log = logging.getLogger(__name__)

MARK = ".maskmill.json"
STAGE = re.compile(r"[a-z_]+")
DIGEST = re.compile(r"[0-9a-f]{64}")
NUM_SHOWN = 5  # names in a message


def require_replaceable(
    out: Path, *, written_by: str, inputs: Iterable[Path] = (), new: Path | None = None
) -> None:
    """Refuse an output folder whose replacement would delete files of somebody else.

    A stage calls this before its work starts.

    Args:
        out: the folder to write.
        written_by: the stage that writes it, as `predict`; its setting is `<stage>.out`.
        inputs: what the stage reads, which `out` must not contain.
        new: the folder that replaces it, if it is written already.

    Raises:
        ValueError: `out` is a symbolic link, a file, the current directory or a parent of it; or it
            contains an input, or anything that an earlier run of this stage did not write.
    """
    advice = f"either set `{written_by}.out` to a new folder or move this one away"
    if out.is_symlink():
        raise ValueError(f"{out}: expected a folder to write, but found a symbolic link - {advice}")
    if not out.exists():
        return
    if not out.is_dir():
        raise ValueError(f"{out}: expected a folder to write, but found a file - {advice}")
    folder = out.resolve()
    if Path.cwd().is_relative_to(folder):
        raise ValueError(
            f"{out}: expected a folder that `{written_by}` may replace, but found the current "
            f"directory or a parent of it - either set `{written_by}.out` to a new folder or "
            "run the command elsewhere"
        )
    for path in inputs:
        if path.resolve().is_relative_to(folder):
            raise ValueError(
                f"{out}: expected a folder that `{written_by}` may replace, but it contains the "
                f"input {path} - either set `{written_by}.out` to a new folder or move the input"
            )
    if any(folder.iterdir()):
        _require_own_contents(out, written_by, advice, new)


@contextmanager
def replaced_folder(
    out: Path, *, written_by: str, inputs: Iterable[Path] = (), resume: str | None = None
) -> Iterator[Path]:
    """Yield an empty folder to fill, which replaces `out` at the end of the block.

    If the block raises, `out` stays as it was and nothing else is left. If the process is killed,
    the next call for the same `out` removes the unfinished folder.

    Args:
        out: the folder to write; its parents are created.
        written_by: the stage that writes it, recorded in the mark.
        inputs: what the stage reads, which `out` must not contain.
        resume: a digest of all that decides the content. The unfinished folder is then kept next
            to `out`, and the next call with the same digest yields it as it was left.

    Yields:
        a folder on the same file system as `out`.

    Raises:
        ValueError: another process is writing `out`, or `require_replaceable` refuses it.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> parent = Path(TemporaryDirectory().name)
        >>> with replaced_folder(parent / "out", written_by="predict") as folder:
        ...     _ = (folder / "a.txt").write_text("new")
        >>> sorted(path.name for path in (parent / "out").iterdir())
        ['.maskmill.json', 'a.txt']
    """
    inputs = list(inputs)
    require_replaceable(out, written_by=written_by, inputs=inputs)
    target = out.parent.resolve() / out.name
    work = target.with_name(f".{out.name}.maskmill")
    with _locked(work, out, written_by):
        new = work / (f"new-{resume}" if resume else "new")
        old = work / "old"
        if old.exists() and not target.exists():
            old.rename(target)  # an earlier process was killed between the two renames below
        _remove(*[path for path in work.iterdir() if path.is_dir() and path != new], old)
        if not resume:
            _remove(new)
        new.mkdir(exist_ok=True)
        is_done = False
        try:
            yield new
            write_json(new / MARK, {"written_by": written_by, "entries": _entries(new)})
            # Again: files may have come into the folder while the stage was working.
            require_replaceable(out, written_by=written_by, inputs=inputs, new=new)
            _swap(target, new, old)
            is_done = True
        finally:
            is_kept = resume and not is_done
            _remove(old) if is_kept else _remove(new, old)


def _require_own_contents(out: Path, written_by: str, advice: str, new: Path | None) -> None:
    recorded = _read_mark(out)
    if recorded is None and (out / MARK).is_file():
        if new is None:
            log.warning(
                "%s: expected a mark in %s, but it is damaged - the folder is replaced only if the "
                "new one has the same file names",
                out,
                MARK,
            )
            return
        recorded = (written_by, _entries(new))
    if recorded is None:
        names = sorted(path.name for path in out.iterdir())
        raise ValueError(
            f"{out}: expected a new folder or one that `maskmill {written_by}` wrote, but found "
            f"other files ({_shown(names)}) - {advice}"
        )
    stage, entries = recorded
    if stage != written_by:
        raise ValueError(
            f"{out}: expected a new folder or one that `maskmill {written_by}` wrote, but "
            f"`maskmill {stage}` wrote it - {advice}"
        )
    changed = [name for name, digest in _entries(out).items() if entries.get(name) != digest]
    if changed:
        raise ValueError(
            f"{out}: expected only files that `maskmill {written_by}` wrote, but found added, "
            f"removed or renamed files in it ({_shown(changed)}) - {advice}"
        )


def _read_mark(folder: Path) -> tuple[str, dict[str, str]] | None:
    """Stage and entries of a folder's mark, or None if it has no valid one."""
    try:
        mark = read_json(folder / MARK)
        stage, entries = str(mark["written_by"]), dict(mark["entries"])
        is_valid = all(map(DIGEST.fullmatch, entries.values()))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (stage, entries) if is_valid and STAGE.fullmatch(stage) else None


def _entries(folder: Path) -> dict[str, str]:
    """Name of each entry of a folder -> sha256 of the sorted paths below it, without the mark."""
    digests = {}
    for entry in sorted(folder.iterdir()):
        if entry.name != MARK:
            lines = "".join(f"{path}\n" for path in _paths(entry))
            digests[entry.name] = hashlib.sha256(os.fsencode(lines)).hexdigest()
    return digests


def _paths(entry: Path) -> list[str]:
    """Sorted relative paths of everything in an entry of a folder, the entry itself included."""
    paths = [entry.name]
    for parent, folders, files in os.walk(entry):
        relative = Path(parent).relative_to(entry.parent).as_posix()
        paths += [f"{relative}/{name}" for name in [*folders, *files]]
    return sorted(paths)


def _shown(names: list[str]) -> str:
    more = [f"and {len(names) - NUM_SHOWN} more"] if len(names) > NUM_SHOWN else []
    return ", ".join(names[:NUM_SHOWN] + more)


@contextmanager
def _locked(work: Path, out: Path, written_by: str) -> Iterator[None]:
    """Keep other writers of `out` away while the block runs; `work` exists only within it."""
    work.mkdir(parents=True, exist_ok=True)
    path = work / ".lock"
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
        if not path.exists():  # the other process has just finished and removed the file
            lock.release()
            raise Timeout(str(path))
    except (Timeout, FileNotFoundError) as error:
        raise ValueError(
            f"{out}: expected to be the only writer, but another process is writing this folder - "
            f"either wait until it has finished or set `{written_by}.out` to another folder"
        ) from error
    except OSError:  # no space or handle for the lock
        with suppress(OSError):
            work.rmdir()
        raise
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # last, so that nobody else fills the folder before
        with suppress(OSError):
            work.rmdir()
        lock.release()


def _swap(target: Path, new: Path, old: Path) -> None:
    """Put `new` in the place of `target`, which moves to `old`."""
    if not target.exists():
        new.rename(target)
        return
    target.rename(old)
    try:
        new.rename(target)
    except BaseException:
        old.rename(target)
        raise


def _remove(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
