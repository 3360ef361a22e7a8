"""Errors of CSV files, and names in them, which a spreadsheet must not take for formulas.

Spreadsheets run a cell that begins with one of `FORMULA`, whether it is quoted or not, so that a
class called `=HYPERLINK(...)` would act in the hands of who opens the table.
"""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FORMULA = ("=", "+", "-", "@", "\t", "\r")
MARK = "'"  # spreadsheets hide it and show the rest as text


@contextmanager
def csv_errors(path: Path) -> Iterator[None]:
    """Give the errors of the parser the name of the file.

    Raises:
        ValueError: the content is not CSV, or one of its cells is too long.
    """
    try:
        yield
    except csv.Error as error:
        raise ValueError(
            f"{path}: expected CSV, but found: {error} - either correct the file or write it again"
        ) from error


def protect(name: str) -> str:
    """A name as the text of a CSV cell: with a leading apostrophe if it could be a formula.

    Example:
        >>> protect("=1+1"), protect("car"), protect("'-x")
        ("'=1+1", 'car', "''-x")
    """
    return MARK + name if name.lstrip(MARK).startswith(FORMULA) else name


def unprotect(cell: str) -> str:
    """The name that `protect` wrote.

    Example:
        >>> unprotect("'=1+1"), unprotect("car"), unprotect("'car'")
        ('=1+1', 'car', "'car'")
    """
    return cell.removeprefix(MARK) if cell.lstrip(MARK).startswith(FORMULA) else cell
