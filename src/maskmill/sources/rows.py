"""Rows of annotation files, checked against a schema before they are used."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Strict, TypeAdapter, ValidationError

from maskmill.canonical import schema
from maskmill.canonical.schema import shorten
from maskmill.sources.finding import Findings

T = TypeVar("T")

# Types for the fields of rows. Strict: no text, float or truth value for a number. A plain `bool`
# reads 0, 1, true, false and their texts, as exporters write them, and nothing else.
Id = Annotated[schema.ImageId, Strict()]
CategoryId = Annotated[schema.CategoryId, Strict()]
Side = Annotated[schema.Pixels, Strict()]
Level = Annotated[schema.Channel, Strict()]
Number = Annotated[float, Strict()]  # may be NaN or infinite
Text = Annotated[schema.Text, Strict()]
FileName = Annotated[schema.FileName, Strict()]

PREFIX = "Input should be "


def check_row(form: TypeAdapter[T], row: Any, item: str) -> T:
    """The row as its form describes it.

    Args:
        form: of a dataclass; further keys are ignored.
        row: any value from a file.
        item: what the row is, for the message, such as "annotations[17] (id 33)".

    Raises:
        ValueError: the row does not match. The message has no file and no fix.

    Example:
        >>> check_row(TypeAdapter(Id), "33", "an id")
        Traceback (most recent call last):
        ValueError: expected an id to be a valid integer, but got '33'
    """
    try:
        return form.validate_python(row)
    except ValidationError as error:
        raise ValueError(_message(error, item)) from error


def _message(error: ValidationError, item: str) -> str:
    details = error.errors(include_url=False, include_context=False)[0]
    key = ".".join(map(str, details["loc"]))
    if details["type"] == "missing":
        return f"expected `{key}` in {item}, but it is missing"
    where = f"`{key}` of {item}" if key else item
    found = shorten(details["input"])
    if details["type"] == "dataclass_type":
        return f"expected {where} to be a mapping, but got {found}"
    reason, _, _ = details["msg"].partition(", ")
    if reason.startswith(PREFIX):
        return f"expected {where} to be {reason.removeprefix(PREFIX)}, but got {found}"
    return f"expected a valid {where}, but got {found} ({reason})"


def keep_rows(
    form: TypeAdapter[T],
    rows: Iterable[tuple[str, Any]],
    file: Path,
    findings: Findings,
) -> list[tuple[str, T]]:
    """The rows that match their form; each other row becomes an error.

    Args:
        form: see `check_row`.
        rows: each with what it is, for messages.
        file: the file with the rows.
        findings: receives the errors.
    """
    kept = []
    for item, row in rows:
        try:
            kept.append((item, check_row(form, row, item)))
        except ValueError as error:
            findings.error(file, str(error), "export the file again, or correct the row")
    return kept


def require_rows(
    form: TypeAdapter[T],
    rows: Iterable[tuple[str, Any]],
    file: Path,
    findings: Findings,
) -> list[tuple[str, T]]:
    """The rows; see `keep_rows`.

    Raises:
        ValueError: a row does not match. Each such row is an error in `findings` too.
    """
    num_earlier = len(findings)
    kept = keep_rows(form, rows, file, findings)
    if len(findings) > num_earlier:
        raise ValueError(str(findings[num_earlier]))
    return kept


def named_rows(name: str, rows: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """Each row of a list behind what it is; see `item_name`."""
    for index, row in enumerate(rows):
        yield item_name(name, index, row), row


def item_name(rows: str, index: int, row: Any) -> str:
    """What a row is, for messages: the name of its list, its index, and its id if it has one.

    Example:
        >>> item_name("annotations", 17, {"id": 33})
        'annotations[17] (id 33)'
    """
    row_id = row.get("id") if isinstance(row, dict) else None
    suffix = f" (id {row_id})" if type(row_id) is int else ""
    return f"{rows}[{index}]{suffix}"
