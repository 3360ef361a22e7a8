"""A cache of converted images: the next conversion reads only images that changed."""

import hashlib
import json
import logging
import os
import shutil
import sqlite3
from dataclasses import dataclass, replace
from pathlib import Path

import joblib

from maskmill.canonical.files import file_digest, link_file
from maskmill.sources.collection import Outcome
from maskmill.sources.finding import Finding
from maskmill.sources.source import Sample, Source

log = logging.getLogger(__name__)

DVC_STAGE = "DVC_STAGE"  # a variable of the commands that DVC runs
KINDS = ("image", "labels")  # the cached files of a sample, in the order of the hashes in its row


@dataclass(frozen=True)
class _CachedFile:
    """A file in the cache, and its path in the output of the conversion."""

    cached: Path
    path: Path


class ConversionCache:
    """Converted images, found by the state of the files that they were made from.

    Files in the cache and in the output are hard links if the file system has them, and copies
    under DVC.

    Args:
        folder: the folder of the cache, made if necessary.
        source: a source with its settings; other settings have other entries.
        target: the folder of the new conversion, which gets the cached files.
        max_pixels: the setting of the conversion.
        code: a digest of the code that converts; other code has other entries.
    """

    def __init__(
        self, folder: Path, source: Source, target: Path, *, max_pixels: int | None, code: str
    ) -> None:
        self._target = target
        self._files = folder / "files"
        self._files.mkdir(parents=True, exist_ok=True)
        self._database = _open_index(folder / "index.db")
        self._source = source
        self._settings = joblib.hash((code, max_pixels, type(source).__name__, source))

    def key(self, sample: Sample) -> str | None:
        """The key of a sample's entry, or None if one of its files is missing.

        It depends on the code, the settings, the name, and the size and time of change of each
        file.
        """
        try:
            states = [_state(path) for path in self._source.files(sample)]
        except OSError:
            return None
        plain = replace(sample, split="", image_id=None, group=None)
        return hashlib.sha256(f"{self._settings} {plain!r} {states}".encode()).hexdigest()

    def find(self, sample: Sample) -> Outcome | None:
        """The outcome of an unchanged sample, whose files are linked into the output.

        Returns:
            None if the sample is new or has changed.
        """
        key = self.key(sample)
        query = self._database.execute("SELECT row FROM entry WHERE key = ?", (key,))
        entry = query.fetchone()
        if key is None or entry is None:
            return None
        content = _verified(entry[0])
        if content is None:
            return None
        row, finding_rows = json.loads(content)
        findings = list[Finding]()
        for finding_row in finding_rows:
            findings.append(Finding(**finding_row))
        outcome = Outcome(sample.split, sample.name, sample.image_file, row, findings)
        files = self._cached_files(key, outcome)
        if [_hash(file.cached) for file in files] != row["sha256"]:
            return None  # a file was removed, or changed through its hard link in the output
        for file in files:
            _put(file.cached, file.path)
        self._database.execute("UPDATE entry SET fresh = 1 WHERE key = ?", (key,))
        return outcome

    def keep(self, sample: Sample, outcome: Outcome) -> None:
        """Store the files of a sample that was just written; excluded samples are not stored."""
        key = self.key(sample)
        if key is None or outcome.row is None:
            return
        for file in self._cached_files(key, outcome):
            file.cached.unlink(missing_ok=True)
            _put(file.path, file.cached)
        findings = [finding.as_dict() for finding in outcome.findings]
        content = json.dumps([outcome.row, findings])
        values = (key, f"{_digest(content)} {content}")
        self._database.execute("INSERT OR REPLACE INTO entry VALUES (?, ?, 1)", values)

    def remove_unused(self) -> None:
        """Remove the entries that were not used; call it at the end of a whole conversion."""
        unused = self._database.execute("SELECT key FROM entry WHERE fresh = 0").fetchall()
        for (key,) in unused:
            for kind in KINDS:
                (self._files / f"{key}.{kind}").unlink(missing_ok=True)
        self._database.execute("DELETE FROM entry WHERE fresh = 0")

    def close(self) -> None:
        """Close the database, and keep what an unfinished conversion has converted."""
        self._database.commit()
        self._database.close()

    def _cached_files(self, key: str, outcome: Outcome) -> list[_CachedFile]:
        """The image and its labels, in the order of the hashes in the row."""
        assert outcome.row is not None
        image = f"{outcome.split}/images/{outcome.name}{outcome.row['ending']}"
        labels = f"{outcome.split}/panoptic/{outcome.name}.png"
        files = []
        for kind, path in zip(KINDS, (image, labels), strict=True):
            cached = self._files / f"{key}.{kind}"
            files.append(_CachedFile(cached, self._target / path))
        return files


def _open_index(path: Path) -> sqlite3.Connection:
    """The database of the entries, none of them used yet; a damaged one is replaced."""
    try:
        return _connect(path)
    except sqlite3.OperationalError:  # not damaged, but locked, read-only or on a full disk
        raise
    except sqlite3.DatabaseError as error:
        log.warning(
            "%s: expected the index of the converted images, but it is damaged (%s) - all images "
            "are read again",
            path,
            error,
        )
        for damaged in path.parent.glob(f"{path.name}*"):
            damaged.unlink()
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path)
    database.text_factory = lambda content: content.decode(errors="replace")  # its digest fails
    try:
        (state,) = database.execute("PRAGMA integrity_check(1)").fetchone()
        if state != "ok":
            raise sqlite3.DatabaseError(state)
        database.execute(
            "CREATE TABLE IF NOT EXISTS entry (key TEXT PRIMARY KEY, row TEXT, fresh INTEGER)"
        )
        database.execute("UPDATE entry SET fresh = 0")
    except sqlite3.DatabaseError:
        database.close()
        raise
    return database


def _digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def _verified(entry: str) -> str | None:
    """The content of an entry behind its digest, or None if it was changed on the disk."""
    digest, _, content = entry.partition(" ")
    return content if digest == _digest(content) else None


def _put(source: Path, target: Path) -> None:
    """Give a file a second path; under DVC as a copy, since DVC replaces links in its outputs."""
    if DVC_STAGE not in os.environ:
        link_file(source, target)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _hash(path: Path) -> str | None:
    """The sha256 of a file, or None if there is none."""
    return file_digest(path) if path.is_file() else None


def _state(path: Path) -> list[tuple[str, int, int]]:
    """Path, size and time of change of a file, or of every file below a folder."""
    states = []
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        status = file.stat()
        states.append((str(file), status.st_size, status.st_mtime_ns))
    return states
