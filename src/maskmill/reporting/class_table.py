"""Classes: a row of bars for each, and where its panoptic quality goes."""

from collections.abc import Sequence
from html import escape

from maskmill.canonical.categories import Category
from maskmill.evaluation.analysis import Analysis
from maskmill.metrics.functional.panoptic_quality import LOSSES
from maskmill.reporting.losses import losses
from maskmill.reporting.markup import bar, folded, key, table
from maskmill.reporting.tables import Row, per_class_rows

COLUMNS = ("PQ", "SQ", "RQ", "IoU", "boundary_IoU", "AP")


def class_table(analysis: Analysis) -> str:
    """One row of bars for each class that occurs; the others by name."""
    evaluation = analysis.evaluation
    columns = [name for name in COLUMNS if name != "AP" or evaluation.ap.numbers]
    shown, absent = [], []
    for category, row in zip(evaluation.categories, per_class_rows(analysis), strict=True):
        if any(row[column] != "" for column in columns):
            shown.append(_cells(key(category, evaluation.categories), category, row, columns))
        else:
            absent.append(escape(category.name))
    head = ("class", *(name.replace("_", " ") for name in columns), "right", "background", "missed")
    note = (
        folded(f"{len(absent)} classes neither in the truth nor predicted", ", ".join(absent))
        if absent
        else ""
    )
    return f"{table(head, shown)}<p>Right, spurious, missed: segments. Lines in the bars: 95 %.</p>{note}"


def loss_bars(analysis: Analysis) -> str:
    """Where the panoptic quality of all classes goes, and of each; nothing where no segment is counted."""
    evaluation = analysis.evaluation
    scores = analysis.scores
    if scores["PQ"] is None:
        return ""
    bars = [
        (
            "<b>all classes</b>",
            [float(scores[part] or 0) for part in ("PQ", *(f"PQ/lost/{loss}" for loss in LOSSES))],
        )
    ]
    for category, row in zip(evaluation.categories, per_class_rows(analysis), strict=True):
        if row["PQ"] != "":
            shares = [
                float(str(row[part])) for part in ("PQ", *(f"lost_{loss}" for loss in LOSSES))
            ]
            bars.append((key(category, evaluation.categories), shares))
    return losses(bars)


def _cells(name: str, category: Category, row: Row, columns: Sequence[str]) -> str:
    kind = "thing" if category.isthing else "stuff"
    cells = "".join(bar(row[column], _bounds(row, column)) for column in columns) + "".join(
        f"<td>{row[part]}</td>" for part in ("tp", "fp", "fn")
    )
    return f"<td>{name} <small>{kind}</small></td>{cells}"


def _bounds(row: Row, column: str) -> tuple[float, float] | None:
    low, high = row.get(f"{column}_low", ""), row.get(f"{column}_high", "")
    return (low, high) if isinstance(low, float) and isinstance(high, float) else None
