"""The learning curves of a training as a CSV file, the same bytes whether it was killed or not."""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

from maskmill.canonical.files import read_text, write_bytes, write_text
from maskmill.evaluation.csv_cells import csv_errors

HISTORY = "history.csv"  # beside the model
EPOCH = "epoch"
TRAIN_LOSS = "train/loss"
VAL_LOSS = "val/loss"
SCORE = "score"  # the one that chose the checkpoint; it is also under its own name
COLUMNS = (EPOCH, "step", TRAIN_LOSS, VAL_LOSS, SCORE)
SCORES = ("val/PQ", "val/PQ/thing", "val/PQ/stuff", "val/mIoU")

Row = dict[str, float]  # without the values that are not known


def write_history(path: Path, rows: Iterable[Mapping[str, float]]) -> Path:
    """Write the rows; the cell of a missing value is empty.

    Args:
        path: the file.
        rows: values by name, of `COLUMNS` and `SCORES`; the columns of a score that no row has are
            left out. Six digits are kept: the order in which processes add their losses changes
            later ones.
    """
    rows = list(rows)
    columns = list(COLUMNS)
    for score in SCORES:
        if any(score in row for row in rows):
            columns.append(score)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(f"{row[name]:.6g}" if name in row else "" for name in columns)
    return write_text(path, text.getvalue())


def read_history(path: Path) -> list[Row]:
    """The rows of `write_history`.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not such a table.
    """
    with csv_errors(path):
        lines = list(csv.DictReader(read_text(path, expected="learning curves").splitlines()))
    rows = []
    for line in lines:
        try:
            rows.append({name: float(cell) for name, cell in line.items() if cell != ""})
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{path}: expected a number in each cell, but got {list(line.values())} - "
                "train the model again"
            ) from error
        if EPOCH not in rows[-1]:
            raise ValueError(
                f"{path}: expected the column {EPOCH!r}, but got {list(line)} - "
                "train the model again"
            )
    return rows


def rows_with(rows: Iterable[Row], *names: str) -> list[Row]:
    """The rows that have values of all these names."""
    return [row for row in rows if row.keys() >= set(names)]


def copy_history(source: Path, folder: Path) -> None:
    """Copy the learning curves beside a model, if it has any, to another folder."""
    path = source / HISTORY
    if path.is_file():
        write_bytes(folder / HISTORY, path.read_bytes())
