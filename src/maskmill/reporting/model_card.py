"""The description of a registered version: what it is, how good it is, and how to load it."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from maskmill.canonical.files import read_json, read_text
from maskmill.evaluation.csv_cells import csv_errors, unprotect
from maskmill.reporting.pages import EN_DASH, ENVIRONMENT

METRICS = ("PQ", "PQ/thing", "PQ/stuff", "mIoU", "AP", "AP50", "boundary_mIoU", "ECE")
CLASS_METRICS = ("PQ", "IoU", "AP")
SLICE_METRICS = ("PQ", "mIoU", "AP")
MAX_ROWS = 24  # of a table: MLflow's descriptions have at most 5000 characters

Row = dict[str, str]


def model_card(
    evaluation: Path,
    *,
    name: str,
    number: int,
    decision: str,
    facts: Mapping[str, str],
    links: Sequence[str],
) -> str:
    """A model card in Markdown.

    Args:
        evaluation: what `evaluate` wrote for the model.
        name: of the registered model.
        number: of the version.
        decision: the reason of its alias.
        facts: what the model is, by name.
        links: in Markdown, to what the version is based on.
    """
    metrics = read_json(evaluation / "metrics.json")
    classes = _read_rows(evaluation / "per_class.csv")
    scores = []
    for metric in METRICS:
        if metrics.get(metric) is not None:
            bounds = metrics.get("interval", {}).get(metric)
            scores.append((metric, _percent(metrics[metric]), _interval(bounds)))
    return ENVIRONMENT.get_template("model_card.md.jinja").render(
        name=name,
        number=number,
        decision=decision,
        facts=facts,
        links=", ".join(links),
        num_images=metrics["num_images"],
        scores=scores,
        things=_names(classes, isthing="1"),
        stuff=_names(classes, isthing="0"),
        class_metrics=CLASS_METRICS,
        classes=_cells(classes, CLASS_METRICS),
        num_more=max(0, len(classes) - MAX_ROWS),
        slice_metrics=SLICE_METRICS,
        slices=_cells(_read_rows(evaluation / "slices.csv"), SLICE_METRICS),
    )


def _read_rows(path: Path) -> list[Row]:
    """The rows of a table that have a name in their first column."""
    with csv_errors(path):
        rows = list(csv.DictReader(io.StringIO(read_text(path), newline="")))
    return [row for row in rows if next(iter(row.values()))]


def _names(rows: list[Row], *, isthing: str) -> str:
    names = [_cell(row["category"]) for row in rows[:MAX_ROWS] if row["isthing"] == isthing]
    return ", ".join(names)


def _cells(rows: list[Row], metrics: tuple[str, ...]) -> list[list[str]]:
    """The names and scores of a table's first rows."""
    table = []
    for row in rows[:MAX_ROWS]:
        names = [row["category"]] if "category" in row else [row["slicing"], row["slice"]]
        cells = [_cell(name) for name in names]
        for metric in metrics:
            value = row.get(metric, "")
            cells.append(_percent(float(value)) if value else "-")
        table.append(cells)
    return table


def _cell(name: str) -> str:
    """A name inside a table of Markdown; the template escapes the rest."""
    return unprotect(name).replace("\n", " ").replace("|", "/")[:40]


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def _interval(bounds: list[float] | None) -> str:
    return "-" if bounds is None else f"{_percent(bounds[0])}{EN_DASH}{_percent(bounds[1])}"
