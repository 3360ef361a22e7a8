"""What `prepare` found wrong with the data, as rows for a page."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_ROWS = 50


@dataclass(frozen=True)
class ProblemRow:
    """What happened, and its message."""

    label: str
    message: str


@dataclass(frozen=True)
class DataProblems:
    """Excluded images and findings about the others: how many, and the first rows of them."""

    num_excluded: int
    num_findings: int
    rows: list[ProblemRow]
    num_more: int


def tabulate_problems(dataset: Mapping[str, Any]) -> DataProblems | None:
    """The problems in the content of dataset.json; None without any."""
    rows = []
    for problem in dataset.get("problems", []):
        rows.append(ProblemRow(f"excluded from {problem['split']}", problem["message"]))
    num_excluded = len(rows)
    for finding in dataset.get("findings", []):
        if finding["severity"] != "error":
            message = f"{finding['file']}: {finding['what']} - {finding['fix']}"
            rows.append(ProblemRow(finding["severity"], message))
    if not rows:
        return None
    num_findings = len(rows) - num_excluded
    num_more = max(0, len(rows) - MAX_ROWS)
    return DataProblems(num_excluded, num_findings, rows[:MAX_ROWS], num_more)
