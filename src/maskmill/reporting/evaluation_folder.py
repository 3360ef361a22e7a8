"""The output of `evaluate`: a folder of numbers, tables, plots and the report."""

from pathlib import Path

from maskmill.canonical.output_folder import replaced_folder
from maskmill.evaluation.evidence import Evidence, write_evidence
from maskmill.reporting.examples import Gallery
from maskmill.reporting.plots import PLOTS, write_plots
from maskmill.reporting.report import write_report
from maskmill.reporting.tables import write_tables

REPORT = "report.html"


def write_evaluation(out: Path, gallery: Gallery, evidence: Evidence | None = None) -> Path:
    """Write everything about an evaluation; the folder is replaced as a whole at the end.

    Args:
        out: the folder.
        gallery: the analysis, and the pictures of its report.
        evidence: what it is an evaluation of, for evidence.json; None: predictions of other tools.

    Returns:
        `out`.

    Raises:
        ValueError: `out` contains files that no evaluation wrote, or the size of an image differs
            from the size of its labels.
    """
    with replaced_folder(out, written_by="evaluate") as folder:
        write_tables(folder, gallery.analysis)
        write_report(folder / REPORT, gallery)
        write_plots(folder / PLOTS, gallery.analysis, gallery.task, gallery.origin.history)
        if evidence is not None:
            write_evidence(folder, evidence)
    return out
