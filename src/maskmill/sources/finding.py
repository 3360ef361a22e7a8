"""What is wrong with a raw data set: each finding with its file and its fix."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One fault of the data.

    Args:
        severity: an `error` keeps the image out of the data set, a `warning` bends training or numbers, a `note` is worth knowing.
        file: the file it is about, or the split.
        what: what was expected and what was found.
        fix: what to do.
    """

    severity: Severity
    file: str
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what} - {self.fix}"

    def as_dict(self) -> dict[str, str]:
        """As JSON files have it."""
        return asdict(self)

    @classmethod
    def of(cls, error: Exception, file: Path) -> "Finding":
        """The finding an error message of ours tells: `FILE: what - fix`; `file` stands in where it names none."""
        what, _, fix = str(error).rpartition(" - ")
        named, colon, rest = what.partition(": ")
        if colon and Path(named).name and ("/" in named or named == str(file)):
            return cls("error", named, rest, fix)
        return cls("error", str(file), what or fix, fix if what else "replace the file")


class Findings(list[Finding]):
    """A list that reads well where findings are made."""

    def error(self, file: Path | str, what: str, fix: str) -> None:
        """Add a fault that keeps an image out."""
        self.append(Finding("error", str(file), what, fix))

    def warn(self, file: Path | str, what: str, fix: str) -> None:
        """Add a fault that bends training or numbers."""
        self.append(Finding("warning", str(file), what, fix))

    def note(self, file: Path | str, what: str, fix: str) -> None:
        """Add something worth knowing."""
        self.append(Finding("note", str(file), what, fix))
