"""An unfinished folder of predictions: it knows its finished batches, so a killed run resumes."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from maskmill.canonical.files import inside, read_json, write_bytes, write_text
from maskmill.sources.finding import Finding

BATCHES = ".batches"  # below the folder, until it is finished


@dataclass(frozen=True)
class Outcome:
    """What became of one image.

    Args:
        index: of the image.
        digest: sha256 of its file; None if it cannot be read.
        files: names of what was written for it, below the folder.
        row: see `Entry`.
        findings: warnings; an error if the image was left out.
    """

    index: int
    digest: str | None
    files: list[str] = field(default_factory=list)
    row: Any = None
    findings: Sequence[Finding] = ()

    @property
    def is_excluded(self) -> bool:
        """Whether the image was left out."""
        return any(finding.severity == "error" for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """The values of the fields; the row is no copy."""
        return vars(self) | {"findings": list(map(asdict, self.findings))}


class UnfinishedFolder:
    """Files of predictions, and a JSON file for each finished batch.

    Args:
        folder: empty, or as an earlier run for the same images and settings left it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._batches = folder / BATCHES
        self._batches.mkdir(parents=True, exist_ok=True)

    def num_batches(self) -> int:
        """The number of batches that an earlier run finished."""
        return len(list(self._batches.glob("[0-9]*.json")))

    def has(self, batch: range) -> bool:
        """Whether a batch was finished, perhaps of images that have changed since."""
        return self._path(batch).is_file()

    def is_done(self, batch: range, digests: Sequence[str | None]) -> bool:
        """Whether a batch was finished for files with these digests, and all is still there."""
        try:
            outcomes = self._read(batch)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):  # absent or damaged
            return False
        names = [name for outcome in outcomes for name in outcome.files]
        is_complete = all(inside(self.folder, name).is_file() for name in names)
        return is_complete and [outcome.digest for outcome in outcomes] == list(digests)

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write files of one image.

        Raises:
            ValueError: a name leaves the folder.
        """
        for name, data in files.items():
            write_bytes(inside(self.folder, name), data)

    def keep(self, batch: range, outcomes: Sequence[Outcome]) -> None:
        """Note that a batch is finished; its files are written."""
        notes = list(map(Outcome.as_dict, outcomes))
        # indented JSON takes ten times as long, and nobody reads these
        write_text(self._path(batch), json.dumps(notes, allow_nan=False))

    def outcomes(self, batches: Sequence[range]) -> Iterator[Outcome]:
        """What became of each image, in order."""
        for batch in batches:
            yield from self._read(batch)

    def remove_others(self, names: Set[str]) -> None:
        """Remove files but those with these names: of images that changed, or of a killed run."""
        for path in self.folder.rglob("*"):
            name = path.relative_to(self.folder).as_posix()
            if path.is_file() and name not in names and not name.startswith(BATCHES):
                path.unlink()

    def close(self) -> None:
        """Remove the notes about batches; the folder then has predictions alone."""
        shutil.rmtree(self._batches)

    def _path(self, batch: range) -> Path:
        return self._batches / f"{batch.start:09}.json"

    def _read(self, batch: range) -> list[Outcome]:
        outcomes = []
        for values in read_json(self._path(batch)):
            findings = [Finding(**finding) for finding in values.pop("findings")]
            outcomes.append(Outcome(**values, findings=findings))
        return outcomes
