"""What `evaluate` leaves behind: a folder of numbers, tables and the report, whole or absent."""

import shutil
from pathlib import Path

from maskmill.metrics.evaluation import Evaluation
from maskmill.reporting.report import write_report
from maskmill.reporting.tables import write_tables

FILES = frozenset({"metrics.json", "per_class.csv", "per_image.csv", "counts.csv", "confusion.csv", "report.html"})


def require_replaceable(out: Path) -> None:
    """Refuse a place where writing would delete what no evaluation wrote.

    Raises:
        ValueError: `out` is a file, or a folder with other files than an evaluation's.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: expected a folder to write to, but this is a file - name another in `evaluate.out`")
    strangers = sorted(path.name for path in out.iterdir() if path.name not in FILES) if out.is_dir() else []
    if strangers:
        raise ValueError(
            f"{out}: expected a new folder or an earlier evaluation, which is replaced whole, but it holds {', '.join(strangers[:3])} - "
            "name another folder in `evaluate.out`"
        )


def write_evaluation(out: Path, evaluation: Evaluation, target: Path, prediction: Path, *, images: Path | None, num_examples: int) -> Path:
    """Write everything about an evaluation; the folder is replaced once all of it is there.

    Args:
        out: the folder.
        evaluation: the scores.
        target: the truth's folder or file, for the pictures of the report.
        prediction: likewise.
        images: folder of the images; None: beside the truth.
        num_examples: how many of the worst and of the best images the report shows.

    Returns:
        `out`.

    Raises:
        ValueError: as `require_replaceable`, or an image has another size than its labels.
    """
    require_replaceable(out)
    part = out.absolute().with_name(f".{out.absolute().name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        write_tables(part, evaluation)
        write_report(part / "report.html", evaluation, target, prediction, images=images, num_examples=num_examples)
        if out.is_dir():
            shutil.rmtree(out)
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return out
