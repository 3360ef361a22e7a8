"""What an earlier conversion wrote, kept to be used again: only images that changed are read anew."""

import hashlib
import json
import os
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import joblib

from maskmill.sources.collection import Outcome
from maskmill.sources.finding import Finding
from maskmill.sources.source import Sample, Source


class ConversionCache:
    """Converted images by the state of the files they came from. Files are hard links where the file system has them.

    Args:
        folder: holds the cache; made if need be, and emptied of what the last conversion did not use.
        source: with its settings; others have other entries, as has another version of this package.
        target: the folder of the new conversion, where found files are put.
        max_pixels: of the conversion.
    """

    def __init__(self, folder: Path, source: Source, target: Path, *, max_pixels: int) -> None:
        self._target = target
        self._files = folder / "files"
        self._files.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(folder / "index.db")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS entry (key TEXT PRIMARY KEY, row TEXT, fresh INTEGER)"
        )
        self._database.execute("UPDATE entry SET fresh = 0")
        self._source = source
        self._settings = joblib.hash((_code(), max_pixels, type(source).__name__, source))

    def key(self, sample: Sample) -> str | None:
        """What a sample's entry is found by: settings, names, and size and time of change of its files; None where one is missing."""
        try:
            states = [_state(path) for path in self._source.files(sample)]
        except OSError:
            return None
        plain = replace(sample, split="", image_id=None)
        return hashlib.sha256(f"{self._settings} {plain!r} {states}".encode()).hexdigest()

    def find(self, sample: Sample) -> Outcome | None:
        """What became of an unchanged sample, its files put in their place; None where it is new or changed."""
        key = self.key(sample)
        found = self._database.execute("SELECT row FROM entry WHERE key = ?", (key,)).fetchone()
        if key is None or found is None:
            return None
        row, findings = json.loads(found[0])
        outcome = Outcome(
            sample.split, sample.name, str(sample.image), row, [Finding(**one) for one in findings]
        )
        paths = self._paths(key, outcome)
        if [_hash(kept) for kept, _ in paths] != row["sha256"]:
            return None  # somebody wrote into the output, and so through a hard link, or tidied up
        for kept, path in paths:
            _link(kept, path)
        self._database.execute("UPDATE entry SET fresh = 1 WHERE key = ?", (key,))
        return outcome

    def keep(self, sample: Sample, outcome: Outcome) -> None:
        """Keep the files of a sample just written; faulty ones are read anew each time."""
        key = self.key(sample)
        if key is None or outcome.row is None:
            return
        for kept, path in self._paths(key, outcome):
            kept.unlink(missing_ok=True)
            _link(path, kept)
        findings = [one.as_dict() for one in outcome.findings]
        self._database.execute(
            "INSERT OR REPLACE INTO entry VALUES (?, ?, 1)",
            (key, json.dumps([outcome.row, findings])),
        )

    def close(self) -> None:
        """Forget what was not used."""
        for (key,) in self._database.execute("SELECT key FROM entry WHERE fresh = 0").fetchall():
            for kept in self._files.glob(f"{key}.*"):
                kept.unlink()
        self._database.execute("DELETE FROM entry WHERE fresh = 0")
        self._database.commit()
        self._database.close()

    def _paths(self, key: str, outcome: Outcome) -> list[tuple[Path, Path]]:
        """Where the image and its labels are kept, and where they belong."""
        assert outcome.row is not None
        folder = self._target / outcome.split
        return [
            (
                self._files / f"{key}.image",
                folder / "images" / f"{outcome.name}{outcome.row['ending']}",
            ),
            (self._files / f"{key}.labels", folder / "panoptic" / f"{outcome.name}.png"),
        ]


def _hash(path: Path) -> str | None:
    """The sha256 of a file, None where there is none."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _state(path: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of change of a file, or of every file below a folder."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    states = [(file, file.stat()) for file in files]
    return [(str(file), state.st_size, state.st_mtime_ns) for file, state in states]


def _code() -> str:
    """A hash of the code that reads and writes."""
    digest = hashlib.sha256()
    package = Path(__file__).parents[1]
    for path in sorted(
        [*(package / "sources").glob("*.py"), *(package / "canonical").glob("*.py")]
    ):
        digest.update(path.read_bytes())
    return digest.hexdigest()
