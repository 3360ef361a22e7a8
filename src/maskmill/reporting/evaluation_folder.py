"""The output folder of `evaluate`: numbers, tables and the report, complete or absent."""

import shutil
from pathlib import Path

from maskmill.reporting.examples import Gallery
from maskmill.reporting.report import write_report
from maskmill.reporting.tables import write_tables

FILES = frozenset(
    {
        "metrics.json",
        "per_class.csv",
        "per_image.csv",
        "counts.csv",
        "confusion.csv",
        "slices.csv",
        "report.html",
    }
)
SOMETIMES = frozenset({"differences.csv"})  # where there is a baseline


def require_replaceable(out: Path) -> None:
    """Refuse a place where writing would delete what no evaluation wrote.

    Raises:
        ValueError: `out` is a file, or a folder with other files than an evaluation's.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(
            f"{out}: expected a folder to write to, but this is a file - name another in `evaluate.out`"
        )
    strangers = (
        sorted(path.name for path in out.iterdir() if path.name not in FILES | SOMETIMES)
        if out.is_dir()
        else []
    )
    if strangers:
        raise ValueError(
            f"{out}: expected a new folder or an earlier evaluation, which is replaced whole, but it holds {', '.join(strangers[:3])} - "
            "name another folder in `evaluate.out`"
        )


def write_evaluation(out: Path, gallery: Gallery) -> Path:
    """Write everything about an evaluation; the folder is replaced once all of it is there.

    Args:
        out: the folder.
        gallery: the analysis, and the pictures of its report.

    Returns:
        `out`.

    Raises:
        ValueError: as `require_replaceable`, or an image has another size than its labels.
    """
    require_replaceable(out)
    part = out.absolute().with_name(f".{out.absolute().name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        write_tables(part, gallery.analysis)
        write_report(part / "report.html", gallery)
        if out.is_dir():
            shutil.rmtree(out)
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return out
