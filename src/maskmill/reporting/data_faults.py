"""What `prepare` found wrong with the data, for people who read a report."""

from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from maskmill.canonical.files import read_json

MAX_ROWS = 50


def faults_of(dataset: Path) -> Iterator[str]:
    """The section on the data of a prepared data set; nothing where there is no dataset.json, as with predictions of others."""
    if dataset.is_file():
        yield from faults(read_json(dataset))


def faults(dataset: Mapping[str, Any]) -> Iterator[str]:
    """The section on the data: images left out, and findings that did not keep an image out."""
    problems = dataset.get("problems", [])
    findings = [row for row in dataset.get("findings", []) if row["severity"] != "error"]
    if not problems and not findings:
        return
    yield f"<h2>Data</h2><p>{len(problems)} images left out, {len(findings)} findings on the others.</p>"
    rows = [
        f"<tr><td>left out of {escape(row['split'])}</td><td>{escape(row['message'])}</td></tr>"
        for row in problems
    ]
    for row in findings:
        what = escape(f"{row['file']}: {row['what']} - {row['fix']}")
        rows.append(f"<tr><td>{escape(row['severity'])}</td><td>{what}</td></tr>")
    more = f"<p>and {len(rows) - MAX_ROWS} more in dataset.json</p>" if len(rows) > MAX_ROWS else ""
    yield f'<table class="text">{"".join(rows[:MAX_ROWS])}</table>{more}'
