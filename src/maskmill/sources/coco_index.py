"""The JSON files of COCO's forms: which images and annotations they list, and for which splits."""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import inside
from maskmill.canonical.json_rows import JsonRows, read_json_rows
from maskmill.canonical.limits import require_pixels
from maskmill.canonical.schema import shorten
from maskmill.sources.finding import Finding, Findings
from maskmill.sources.folders import require_folder
from maskmill.sources.rows import (
    CategoryId,
    FileName,
    Id,
    Level,
    Side,
    Text,
    check_row,
    item_name,
    keep_rows,
    named_rows,
)
from maskmill.sources.source import Sample
from maskmill.sources.splits import Split, as_split

TABLES = ("images", "annotations")  # they may be long
KEYS = (*TABLES, "categories")


@dataclass(frozen=True, slots=True)
class ImageRow:
    """An entry of `images`; panoptic data need no size."""

    id: Id
    file_name: FileName


@dataclass(frozen=True, slots=True)
class SizedImageRow(ImageRow):
    """An entry of `images` with its size."""

    height: Side
    width: Side


@dataclass(frozen=True)
class CategoryRow:
    """An entry of `categories`."""

    id: CategoryId
    name: Text
    isthing: bool = False
    color: tuple[Level, Level, Level] | None = None
    supercategory: Any = None


@dataclass(frozen=True, slots=True)
class ListedImage:
    """A valid entry of `images`.

    Args:
        row: the entry.
        name: of its sample.
        file: its path, as text.
    """

    row: ImageRow
    name: str
    file: str


CATEGORY = TypeAdapter(CategoryRow)
PLAIN_NAME = re.compile(r"(\w[\w-]*)\.\w+")  # of a file in the folder itself


@dataclass(frozen=True)
class CocoPart:
    """A JSON file and the folders it refers to, relative to the root.

    Args:
        annotations: the JSON file.
        images: the folder of the images.
        splits: split -> share of the images, assigned by a hash of the file name (one split of
            share 1 takes all), or a rule of `splits`.
        labels: the folder of the PNGs of panoptic data; by default beside the JSON file, with its
            name.
        seed: seed of the hash.
    """

    annotations: str
    images: str
    splits: dict[str, float] | Split
    labels: str | None = None
    seed: int = 0

    @property
    def split(self) -> Split:
        """The rule that assigns images to splits."""
        return as_split(self.splits, seed=self.seed)


@dataclass(frozen=True, slots=True, repr=False)
class CocoSample(Sample):
    """A sample with the rows of its labels as the text of a JSON list.

    That is a fifth of the size of Python's dictionaries.
    """

    rows_text: bytes = b"[]"

    def __repr__(self) -> str:
        # The cache of converted images knows a sample by this: white space is not part of it.
        files = self.image_file, self.labels_file
        return f"{self.split}, {self.name}, {files}, {self.image_id}, {self.rows()}"

    def rows(self) -> list[Any]:
        """The rows as they are in the JSON file."""
        rows: list[Any] = json.loads(self.rows_text)
        return rows


def read_index(root: Path, part: CocoPart, form: str) -> tuple[Path, dict[str, Any]]:
    """The path and the content of a JSON file; the rows of its long lists are read one by one.

    Args:
        root: the data set's folder.
        part: names the file.
        form: what the file should be, for the message.

    Raises:
        ValueError: the file is no JSON object with COCO's lists.
    """
    path = inside(require_folder(root), part.annotations)
    index = read_json_rows(path, TABLES)
    if not isinstance(index, dict):
        raise ValueError(
            f"{path}: expected {form}, but got a {type(index).__name__} - check conf/source"
        )
    missing = [key for key in KEYS if key not in index]
    if missing:
        raise ValueError(f"{path}: expected {form}, but it lacks {missing} - check conf/source")
    for key in KEYS:
        if not isinstance(index[key], (list, JsonRows)):
            raise ValueError(
                f"{path}: expected `{key}` as a list of rows, but got a "
                f"{type(index[key]).__name__} - export the file again"
            )
    return path, index


def category_rows(path: Path, index: dict[str, Any]) -> list[CategoryRow]:
    """The entries of `categories`.

    Raises:
        ValueError: one is invalid, so that no annotation could be trusted.
    """
    rows = []
    for number, row in enumerate(index["categories"]):
        try:
            rows.append(check_row(CATEGORY, row, item_name("categories", number, row)))
        except ValueError as error:
            raise ValueError(f"{path}: {error} - correct the category table") from error
    return rows


def list_images(
    path: Path,
    index: dict[str, Any],
    folder: Path,
    schema: TypeAdapter[Any],
    findings: Findings,
) -> list[ListedImage]:
    """The valid entries of `images`; the others, and repeated ids, become errors.

    Args:
        path: the JSON file.
        index: its content.
        folder: the folder of the images.
        schema: of `ImageRow` or `SizedImageRow`.
        findings: receives the errors.
    """
    named = named_rows("images", index["images"])
    kept: list[tuple[str, ImageRow]] = keep_rows(schema, named, path, findings)
    num_rows = Counter(row.id for _, row in kept)
    listed = []
    for item, row in kept:
        if num_rows[row.id] > 1:
            findings.error(
                path,
                f"expected each image id once, but {item} is one of {num_rows[row.id]} rows with "
                "it",
                "renumber the images and their annotations",
            )
            continue
        if isinstance(row, SizedImageRow):
            try:
                require_pixels(row.height, row.width, f"{path}: {item}")
            except ValueError as error:
                findings.append(Finding.from_error(error, path))
                continue
        try:
            name, image = _name_and_file(folder, row.file_name)
        except ValueError:
            findings.error(
                path,
                f"expected a file name below {folder}, but that of {item} is "
                f"{shorten(row.file_name)}",
                "use names relative to that folder, without '..'",
            )
            continue
        listed.append(ListedImage(row, name, image))
    return listed


def _name_and_file(folder: Path, file_name: str) -> tuple[str, str]:
    """The name of a sample, and the path of its image; see `inside`.

    Raises:
        ValueError: the file is not below the folder.
    """
    match = PLAIN_NAME.fullmatch(file_name)
    if match is not None:
        return match[1], str(folder / file_name)
    image = inside(folder, file_name)
    return Path(file_name).with_suffix("").as_posix(), str(image)


def known_image_ids(index: dict[str, Any]) -> set[int]:
    """The image ids of all entries of `images` that have one, valid or not."""
    ids = set()
    for row in index["images"]:
        if isinstance(row, dict) and type(row.get("id")) is int:
            ids.add(row["id"])
    return ids


def common_categories(
    root: Path,
    parts: Sequence[CocoPart],
    rows_of: Callable[[CocoPart], tuple[Path, Sequence[CategoryRow]]],
) -> Categories:
    """The category table that all parts share.

    Args:
        root: the data set's folder.
        parts: its JSON files.
        rows_of: the path of a JSON file, and the rows of its table.

    Raises:
        ValueError: a table is invalid, or two parts have different tables.
    """
    tables = []
    for part in parts:
        path, rows = rows_of(part)
        try:
            tables.append(Categories.from_list(list(map(asdict, rows))))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    for part, table in zip(parts, tables, strict=True):
        if table != tables[0]:
            raise ValueError(
                f"{root}: expected one category table, but {parts[0].annotations} and "
                f"{part.annotations} differ - export both with the same table"
            )
    return tables[0]
