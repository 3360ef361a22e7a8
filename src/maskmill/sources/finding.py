"""Problems of a raw data set: each finding names its file and its fix."""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
MAX_KIND_CHARS = 300  # of a text that decide on its kind: the time grows with their square
NUM_EXAMPLES = 3  # findings of a kind that are shown; the JSON files have all
# What differs between findings of one kind: quotes, lists, paths, file names and numbers.
DETAIL = re.compile(r"'[^']*'|\[[^\]]*\]|\([^)]*\)|\S*/\S*|\S*\w\.[A-Za-z]\w*\S*|\S*\d\S*")


@dataclass(frozen=True)
class Finding:
    """One problem of the data.

    Args:
        severity: an `error` excludes the image, a `warning` can harm training or metrics, a `note`
            is information.
        file: the file it is about, or the split.
        what: what was expected and what was found.
        fix: what to do.

    Example:
        >>> print(Finding("warning", "a.png", "expected labels, but got none", "label it"))
        a.png: expected labels, but got none - label it
    """

    severity: Severity
    file: str
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what} - {self.fix}"

    def as_dict(self) -> dict[str, str]:
        """The fields by name, for JSON files."""
        return asdict(self)

    @property
    def kind(self) -> tuple[Severity, str, str]:
        """What findings of the same kind have in common: severity and texts without details.

        Example:
            >>> Finding("warning", "a.json", "expected area 7 of 'car', but got 9", "redo it").kind
            ('warning', 'expected area ... of ..., but got ...', 'redo it')
        """
        return self.severity, _without_details(self.what), _without_details(self.fix)

    def renamed(self, old: str, new: str) -> "Finding":
        """The finding with the path `old` replaced by `new`; an empty `old` changes nothing."""
        if not old:
            return self
        return replace(self, file=self.file.replace(old, new), what=self.what.replace(old, new))

    @classmethod
    def from_error(cls, error: Exception, file: Path) -> "Finding":
        """The finding that one of our error messages `FILE: what - fix` describes.

        Args:
            error: its message may lack the file or the fix.
            file: used where the message names no file.
        """
        what, _, fix = str(error).rpartition(" - ")
        if not what:
            what, fix = fix, "replace the file"
        named, colon, rest = what.partition(": ")
        if colon and Path(named).name and ("/" in named or named == str(file)):
            return cls("error", named, rest, fix)
        return cls("error", str(file), what, fix)


class Findings(list[Finding]):
    """A list of findings with one method per severity."""

    def error(self, file: Path | str, what: str, fix: str) -> None:
        """Add a problem that excludes an image."""
        self.append(Finding("error", str(file), what, fix))

    def warn(self, file: Path | str, what: str, fix: str) -> None:
        """Add a problem that can harm training or metrics."""
        self.append(Finding("warning", str(file), what, fix))

    def note(self, file: Path | str, what: str, fix: str) -> None:
        """Add a piece of information."""
        self.append(Finding("note", str(file), what, fix))


def group_by_kind(findings: Iterable[Finding]) -> list[list[Finding]]:
    """Findings of the same kind together: errors first, kinds in the order of their first."""
    groups: dict[tuple[Severity, str, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault(finding.kind, []).append(finding)
    return sorted(groups.values(), key=lambda group: SEVERITIES.index(group[0].severity))


def _without_details(text: str) -> str:
    return DETAIL.sub(lambda match: "..." + _closing(match.group()), text[:MAX_KIND_CHARS])


def _closing(detail: str) -> str:
    """The punctuation at the end of a detail, which is not part of it."""
    return detail[-1] if detail[-1] in ",:;" else ""
