"""The annotations of COCO instances: their schema, their image, and if they fit their mask."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from pydantic import TypeAdapter, ValidationError

from maskmill.canonical.schema import shorten
from maskmill.sources.box_mask import BoxMask
from maskmill.sources.coco_index import CategoryRow, known_image_ids
from maskmill.sources.finding import Findings
from maskmill.sources.rows import CategoryId, Id, Number, item_name, keep_rows

# How far a bbox may be beside its mask: bboxes come from polygons, masks from pixels.
BBOX_TOLERANCE_PX = 2.0
ABSENT = object()  # the value of a key that a row does not have: null is a value


@dataclass(frozen=True)
class AnnotationRow:
    """An entry of `annotations`; `segmentation`, `area` and `bbox` are checked where they are used.

    An `id` is only a name, so that a missing one is a warning.
    """

    image_id: Id
    category_id: CategoryId
    id: Any = None
    segmentation: Any = None
    iscrowd: bool = False
    area: Any = ABSENT
    bbox: Any = ABSENT


@dataclass(frozen=True)
class PolygonsRow:
    """The polygons of an annotation, each as x1, y1, x2, y2, ..."""

    segmentation: list[list[Number]]


@dataclass(frozen=True)
class OwnedRow:
    """The one key of an annotation without which nothing else is of use."""

    image_id: Id


class RowIds(msgspec.Struct):
    """The ids of an annotation, if they are whole numbers; msgspec decodes no other value."""

    image_id: int
    category_id: int
    id: int


@dataclass(frozen=True)
class AnyIds:
    """The ids of an annotation as they are in the file, None if it has none."""

    image_id: Any = None
    category_id: Any = None
    id: Any = None


ROW_IDS = msgspec.json.Decoder(RowIds)
ANNOTATION = TypeAdapter(AnnotationRow)
POLYGONS = TypeAdapter(PolygonsRow)
OWNED = TypeAdapter(OwnedRow)
AREA: TypeAdapter[float] = TypeAdapter(Number)
BOX: TypeAdapter[tuple[float, ...]] = TypeAdapter(tuple[Number, Number, Number, Number])


@dataclass(frozen=True, slots=True)
class ImageRows:
    """The annotations of an image: their JSON texts, and their indices in the file.

    The texts are one array, each behind a comma: the memory of single ones, among which the numbers
    of others live, would not become free when the sample has its own.
    """

    texts: bytearray = field(default_factory=bytearray)
    indices: list[int] = field(default_factory=list)

    def add(self, text: bytes, index: int) -> None:
        """Add an annotation."""
        self.texts.extend(b",")
        self.texts.extend(text)
        self.indices.append(index)

    def as_list(self) -> bytes:
        """The annotations as the text of a JSON list."""
        return b"[" + self.texts[1:] + b"]"


def rows_by_image(
    path: Path, index: dict[str, Any], background: Collection[int], findings: Findings
) -> dict[int, ImageRows]:
    """Image id -> its annotations; they are checked when they are read.

    Args:
        path: the JSON file.
        index: its content.
        background: ids of categories whose annotations are left out.
        findings: receives an error for a row that names no image of the file, and a warning for
            an id that is missing or repeated.
    """
    rows_of = {key: ImageRows() for key in known_image_ids(index)}
    index_of_id: dict[int, int] = {}
    for number, text in enumerate(index["annotations"].texts()):
        ids = _ids(text)
        if type(ids.image_id) is not int:
            row = json.loads(text)
            keep_rows(OWNED, [(item_name("annotations", number, row), row)], path, findings)
            continue
        if type(ids.id) is not int:
            _find_missing_id(ids.id, number, path, findings)
        elif index_of_id.setdefault(ids.id, number) != number:
            _find_repeated_id(ids.id, number, index_of_id[ids.id], path, findings)
        owner = rows_of.get(ids.image_id)
        if owner is None:
            findings.error(
                path,
                f"expected an image for {item_name('annotations', number, json.loads(text))}, "
                f"but there is no image {ids.image_id}",
                "either add it or remove the row",
            )
        elif type(ids.category_id) is not int or ids.category_id not in background:
            owner.add(text, number)
    return rows_of


def _ids(text: bytes) -> RowIds | AnyIds:
    """The ids of an annotation, from its JSON text."""
    try:
        return ROW_IDS.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        row = json.loads(text)
    if not isinstance(row, dict):
        return AnyIds()
    return AnyIds(row.get("image_id"), row.get("category_id"), row.get("id"))


def _find_missing_id(row_id: Any, number: int, path: Path, findings: Findings) -> None:
    findings.warn(
        path,
        f"expected a whole number as `id` of annotations[{number}], but got {shorten(row_id)}",
        "number the annotations; the row is used",
    )


def _find_repeated_id(
    row_id: int, number: int, earlier: int, path: Path, findings: Findings
) -> None:
    findings.warn(
        path,
        f"expected each annotation id once, but annotations[{earlier}] and "
        f"annotations[{number}] have id {row_id}",
        "number the annotations again; both rows are used",
    )


def root_category(rows: Sequence[CategoryRow], index: dict[str, Any]) -> int | None:
    """The id of the category that only names a Roboflow export, if a class has the same name.

    It is the supercategory of others and has no annotation. It would be a class with the same name
    as a real one.
    """
    names = [row.name for row in rows]
    parents = {row.supercategory for row in rows if isinstance(row.supercategory, str)}
    for row in rows:
        is_parent = row.name in parents and row.supercategory != row.name
        if not is_parent or names.count(row.name) < 2:
            continue
        if not any(_has_category(other, row.id) for other in index["annotations"]):
            return row.id
    return None


def _has_category(row: Any, category_id: int) -> bool:
    return isinstance(row, dict) and row.get("category_id") == category_id


def compare_area_and_box(
    row: AnnotationRow, mask: BoxMask, file: Path, name: str, findings: Findings
) -> None:
    """Report an `area` or `bbox` far from that of the mask; rasterizers differ at the outline.

    A mask without pixels is reported elsewhere.
    """
    if not mask.area:
        return
    height, width = mask.pixels.shape
    tolerance = 0.1 * mask.area + 2 * (width + height)
    if row.area is not ABSENT and not _is_near(row.area, mask.area, tolerance, AREA):
        findings.warn(
            file,
            f"expected the area of {name} to be that of its mask, {mask.area} px, but got "
            f"{shorten(row.area)}",
            "export it again; the area is not used",
        )
    tolerance = BBOX_TOLERANCE_PX + 0.02 * max(width, height)
    measured = [mask.x, mask.y, width, height]
    if row.bbox is not ABSENT and not _is_near(row.bbox, measured, tolerance, BOX):
        findings.warn(
            file,
            f"expected the bbox of {name} to enclose its mask, {measured}, but got "
            f"{shorten(row.bbox)}",
            "export it again; the bbox is not used",
        )


def _is_near(value: Any, expected: Any, tolerance: float, schema: TypeAdapter[Any]) -> bool:
    """Whether an area, or the corners of a box x, y, w, h, are valid and near to the expected."""
    try:
        found = np.array(schema.validate_python(value), np.float64)
    except ValidationError:
        return False
    difference = found - expected
    if difference.ndim:
        difference[2:] += difference[:2]  # width and height to the right and lower border
    return bool((np.abs(difference) <= tolerance).all())  # false for NaN
