"""A candidate beside the champion: what changed, and what was decided."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from maskmill.canonical.files import write_text
from maskmill.evaluation.comparison import Difference
from maskmill.reporting.difference_table import difference_tables
from maskmill.reporting.page import page

NOTE = (
    "From the counts of segments and pixels of both evaluations. Numbers that need the predictions themselves, as AP, are in the report of "
    "<code>maskmill evaluate evaluate.baseline=PREDICTION_OF_THE_CHAMPION</code>."
)


def write_comparison(
    path: Path,
    version: Mapping[str, object],
    differences: Sequence[Difference],
    *,
    num_resamples: int,
) -> Path:
    """Write the page.

    Args:
        path: the HTML file.
        version: what version.json holds: name, version, alias, reason.
        differences: between the candidate and the champion; none where nothing could be compared.
        num_resamples: behind the intervals.

    Returns:
        `path`.
    """
    title = f"{version['name']} version {version['version']}"
    facts = "".join(
        f"<dt>{name}</dt><dd>{escape(str(version[key]))}</dd>"
        for name, key in (("alias", "alias"), ("why", "reason"))
    )
    tables = (
        f"<h2>Against the champion</h2>{difference_tables(differences, num_resamples=num_resamples)}<p>{NOTE}</p>"
        if differences
        else ""
    )
    return write_text(path, page(title, [f"<h1>{escape(title)}</h1><dl>{facts}</dl>", tables]))
