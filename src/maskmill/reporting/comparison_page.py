"""The page of a registered version: the decision, and the candidate compared with the champion."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from maskmill.canonical.files import write_text
from maskmill.evaluation.comparison import Difference
from maskmill.reporting.difference_tables import tabulate_differences
from maskmill.reporting.pages import render_page


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
        version: the content of version.json: name, version, alias, reason.
        differences: between the candidate and the champion; empty if nothing was compared.
        num_resamples: of the bootstrap intervals.

    Returns:
        `path`.
    """
    tables = tabulate_differences(differences, num_resamples=num_resamples)
    return write_text(path, render_page("comparison", version=version, differences=tables))
