"""Notebooks as programs: what Jupyter does with their cells, without Jupyter.

Jupyter's kernel, client and their dependencies would be twenty packages for three notebooks.
"""

import ast
import json
from dataclasses import dataclass
from pathlib import Path

PREAMBLE = """
import subprocess


def run_in_shell(command):
    subprocess.run(command, shell=True, check=True)


def show(cell, value):
    as_html = getattr(value, "_repr_html_", None)
    as_png = getattr(value, "_repr_png_", None)
    html = as_html() if as_html else ""
    pictures = html.count("<img ") + html.count("<svg ") + bool(as_png and as_png())
    print(f"cell {cell}: {type(value).__name__} with {pictures} pictures")
"""


@dataclass(frozen=True)
class Cell:
    """A cell of a notebook.

    Args:
        id: of the cell.
        is_code: it is run.
        text: its source, with what the tests replace in it.
        is_clean: it is stored without a result.
    """

    id: str
    is_code: bool
    text: str
    is_clean: bool


def read_cells(path: Path) -> list[Cell]:
    """The cells of a notebook; `metadata.tests` of a cell is text -> shorter text for the tests."""
    content = json.loads(path.read_text())
    assert content["nbformat"] == 4
    assert content["nbformat_minor"] == 5  # cells have ids
    cells = []
    for row in content["cells"]:
        text = "".join(row["source"])
        for old, new in row["metadata"].get("tests", {}).items():
            assert old in text, f"{path.name}: {old}"
            text = text.replace(old, new)
        is_clean = not row.get("outputs") and row.get("execution_count") is None
        cells.append(Cell(row["id"], row["cell_type"] == "code", text, is_clean))
    return cells


def as_program(cells: list[Cell]) -> str:
    """The cells as one program that shows the last value of each, as a notebook does."""
    return "\n".join([PREAMBLE, *(_as_code(cell) for cell in cells if cell.is_code)])


def _as_code(cell: Cell) -> str:
    lines = []
    for line in cell.text.splitlines():
        lines.append(f"run_in_shell({line[1:]!r})" if line.startswith("!") else line)
    module = ast.parse("\n".join(lines))
    last = module.body[-1]
    is_shell = isinstance(last, ast.Expr) and ast.unparse(last).startswith("run_in_shell(")
    if isinstance(last, ast.Expr) and not is_shell:
        module.body[-1] = ast.parse(f"show({cell.id!r}, {ast.unparse(last)})").body[0]
    return ast.unparse(module)
