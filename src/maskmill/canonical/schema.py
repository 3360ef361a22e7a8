"""The shape of the JSON files of the format: each value is checked once, before it is used.

The checks only refuse: a file that passes is used as it was read, with its other keys.
"""

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, NotRequired

import pydantic
from pydantic import AfterValidator, ConfigDict, Field, FiniteFloat, with_config
from typing_extensions import TypedDict  # pydantic cannot read that of typing before Python 3.12

from maskmill.canonical.panoptic import MAX_ID

STRICT = ConfigDict(strict=True)  # no text for numbers, no bool for a number
MAX_FINDINGS = 3  # that a message lists
SHORT = reprlib.Repr()
SHORT.maxstring = 60
SHORT.maxother = 60

MAX_NAME_BYTES = 255  # of a file or folder, in every common file system
MAX_PATH_BYTES = 1024


def _require_usable_name(name: str) -> str:
    parts = [len(part) for part in name.encode().split(b"/")]
    if max(parts) > MAX_NAME_BYTES or sum(parts) > MAX_PATH_BYTES:
        raise ValueError(
            f"a file name of at most {MAX_NAME_BYTES} bytes in at most {MAX_PATH_BYTES} bytes"
        )
    return name


Flag = Literal[0, 1, True, False]
Text = Annotated[str, Field(min_length=1)]
FileName = Annotated[Text, AfterValidator(_require_usable_name)]
ImageId = Annotated[int, Field(ge=0, lt=2**63)]
CategoryId = Annotated[int, Field(ge=0, lt=2**31)]
SegmentId = Annotated[int, Field(ge=1, le=MAX_ID)]
Pixels = Annotated[int, Field(ge=1, lt=2**31)]
Channel = Annotated[int, Field(ge=0, le=255)]
Color = Annotated[Sequence[Channel], Field(min_length=3, max_length=3)]


@with_config(STRICT)
class CategoryRow(TypedDict):
    """A row of a category table; `isthing` defaults to stuff, `color` to one of VOC's map."""

    id: CategoryId
    name: Text
    isthing: NotRequired[Flag]
    color: NotRequired[Color | None]


@with_config(STRICT)
class PredictedCategoryRow(TypedDict):
    """A row of the category table of predictions, which may lack name and kind."""

    id: CategoryId
    name: NotRequired[Text]
    isthing: NotRequired[Flag]


@with_config(STRICT)
class ImageRow(TypedDict):
    """An image; its size in pixels."""

    id: ImageId
    file_name: FileName
    height: Pixels
    width: Pixels


@with_config(STRICT)
class SegmentRow(TypedDict):
    """A segment; area and box are not read, since the PNG has them."""

    id: SegmentId
    category_id: CategoryId
    iscrowd: NotRequired[Flag]
    score: NotRequired[FiniteFloat]


@with_config(STRICT)
class AnnotationRow(TypedDict):
    """The segments of an image; the file name is that of its PNG."""

    image_id: ImageId
    file_name: FileName
    segments_info: list[SegmentRow]


@with_config(STRICT)
class PanopticJson(TypedDict):
    """A COCO panoptic JSON file."""

    images: NotRequired[list[ImageRow]]
    annotations: list[AnnotationRow]
    categories: NotRequired[list[dict[str, Any]]]


@with_config(STRICT)
class MaskRow(TypedDict):
    """A compressed run-length code; `rle_runs` checks that it is whole."""

    size: list[Pixels]
    counts: str | bytes


@with_config(STRICT)
class ResultRow(TypedDict):
    """A predicted object in COCO's form of results."""

    image_id: ImageId
    category_id: CategoryId
    segmentation: MaskRow
    score: FiniteFloat


UNIQUE_COLUMNS = (
    ("images", "id"),
    ("images", "file_name"),
    ("annotations", "image_id"),
    ("annotations", "file_name"),
)
CATEGORY_TABLE = pydantic.TypeAdapter(list[CategoryRow])
PREDICTED_TABLE = pydantic.TypeAdapter(list[PredictedCategoryRow])
PANOPTIC_JSON = pydantic.TypeAdapter(PanopticJson)
RESULTS = pydantic.TypeAdapter(list[ResultRow])


def require_schema(
    adapter: pydantic.TypeAdapter[Any], value: Any, where: object, *, name: str = ""
) -> None:
    """Refuse a value that does not have the form that `adapter` describes.

    Args:
        adapter: the form.
        value: what a file contains.
        where: the file, for the message.
        name: of the value in the file; empty for the whole file.

    Raises:
        ValueError: the value has another form. The message lists the first places with the
            expected and the found value.

    Example:
        >>> try:
        ...     require_schema(CATEGORY_TABLE, [{"id": "7", "name": "car"}], "a.json")
        ... except ValueError as error:
        ...     print(str(error).partition(" - ")[0])
        a.json: expected a valid integer at [0].id (of 'car'), but got '7'
    """
    try:
        adapter.validate_python(value)
    except pydantic.ValidationError as error:
        findings = error.errors(include_url=False)
        described = []
        for finding in findings[:MAX_FINDINGS]:
            described.append(_describe(finding, value, name))
        if len(findings) > MAX_FINDINGS:
            described.append(f"{len(findings) - MAX_FINDINGS} more such values")
        raise ValueError(
            f"{where}: expected {'; '.join(described)} - correct the file or write it again"
        ) from error


def _describe(finding: Any, value: Any, name: str) -> str:
    """One wrong value: what was expected, its place, the item that it belongs to, what it is."""
    is_missing = finding["type"] == "missing"
    expected = "a value" if is_missing else _expectation(finding["msg"])
    place = name
    item = None
    for step in finding["loc"]:
        item = _name_of_item(value) or item
        if isinstance(value, Mapping):
            place += f".{step}" if place else str(step)
            value = value.get(step)
        elif isinstance(value, Sequence) and isinstance(step, int):
            place += f"[{step}]"
            value = value[step]
        # Any other step names a member of a union, which is no place in the file.
    of_item = f" (of {item})" if item else ""
    found = "none" if is_missing else shorten(value)
    return f"{expected} at {place or 'the top'}{of_item}, but got {found}"


def _expectation(message: str) -> str:
    """Pydantic's "Input should be less than 8" as "a number less than 8"."""
    expected = message.removeprefix("Value error, ").removeprefix("Input should be ")
    expected = expected.replace(" should have ", " with ")
    return f"a number {expected}" if expected.startswith(("greater", "less")) else expected


def _name_of_item(value: Any) -> str | None:
    """How a user knows a row: by its file name, its name or its id."""
    if isinstance(value, Mapping):
        for key in ("file_name", "name", "image_id", "id"):
            if isinstance(value.get(key), str):
                return shorten(value[key])
            if isinstance(value.get(key), int):
                return f"{key} {value[key]}"
    return None


def shorten(value: Any) -> str:
    """A value as one line of text for a message, however long it is."""
    return SHORT.repr(value)


def require_distinct(rows: Iterable[Mapping[str, Any]], column: str, where: object) -> None:
    """Refuse a table that has a value twice in a column.

    Args:
        rows: all of which have the column.
        column: its name.
        where: file and table, for the message.

    Raises:
        ValueError: a value occurs twice; the message has the value and both rows.

    Example:
        >>> require_distinct([{"id": 4}, {"id": 7}, {"id": 4}], "id", "a.json: images")
        Traceback (most recent call last):
        ValueError: a.json: images: expected each id once, but got 4 in rows 0 and 2 - remove one
    """
    row_of: dict[Any, int] = {}
    for index, row in enumerate(rows):
        value = row[column]
        if value in row_of:
            raise ValueError(
                f"{where}: expected each {column} once, but got {shorten(value)} in rows "
                f"{row_of[value]} and {index} - remove one"
            )
        row_of[value] = index


def require_panoptic_index(index: Any, path: object) -> None:
    """Refuse an index of another form, or one with an id or file name twice.

    Args:
        index: the content of a COCO panoptic JSON file.
        path: its path, for the message.

    Raises:
        ValueError: see `require_schema` and `require_distinct`.
    """
    require_schema(PANOPTIC_JSON, index, path)
    for table, column in UNIQUE_COLUMNS:
        require_distinct(index.get(table, ()), column, f"{path}: {table}")
    for row in index["annotations"]:
        where = f"{path}: segments_info of image {row['image_id']}"
        require_distinct(row["segments_info"], "id", where)
