"""Panoptic data in COCO's form: per split a JSON file, a folder of id PNGs, and one of images."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import inside
from maskmill.canonical.panoptic import Panoptic, Segment
from maskmill.canonical.png import rgb_to_ids
from maskmill.canonical.schema import shorten
from maskmill.sources.coco_index import (
    CategoryRow,
    CocoPart,
    CocoSample,
    ImageRow,
    category_rows,
    common_categories,
    known_image_ids,
    list_images,
    read_index,
)
from maskmill.sources.finding import Findings
from maskmill.sources.folders import require_folder
from maskmill.sources.images import read_label_colors
from maskmill.sources.pairs import UNASSIGNED
from maskmill.sources.rows import (
    CategoryId,
    FileName,
    Id,
    item_name,
    keep_rows,
    named_rows,
    require_rows,
)
from maskmill.sources.source import Sample, Source
from maskmill.sources.splits import require_every_split

__all__ = ["CocoPanoptic", "CocoPart"]  # configurations name CocoPart here


@dataclass(frozen=True, slots=True)
class AnnotationRow:
    """An entry of `annotations`; the rows of `segments_info` are checked when they are read."""

    image_id: Id
    file_name: FileName
    segments_info: list[Any]


@dataclass(frozen=True, slots=True)
class _Annotation:
    """What is kept of an `AnnotationRow`, and its index in the file."""

    index: int
    image_id: int
    file_name: str
    segments_text: bytes


@dataclass(frozen=True)
class SegmentRow:
    """An entry of `segments_info`."""

    id: Id
    category_id: CategoryId
    iscrowd: bool = False


IMAGE = TypeAdapter(ImageRow)
ANNOTATION = TypeAdapter(AnnotationRow)
SEGMENT = TypeAdapter(SegmentRow)


class CocoPanoptic(Source):
    """COCO panoptic, and any data set exported to that form.

    Args:
        root: the data set's folder.
        parts: its JSON files, and the splits of their images.

    Raises:
        ValueError: there are no parts, or shares do not sum to 1.
    """

    def __init__(self, root: Path, parts: Sequence[CocoPart]) -> None:
        if not parts:
            raise ValueError(
                "Expected at least one part, but got none - add its files to conf/source"
            )
        self.root = root
        self.parts = tuple(parts)
        self._tables: dict[str, list[CategoryRow]] = {}  # by JSON file, of those that were read
        self._splits: set[str] = set()
        for part in self.parts:
            self._splits |= part.split.shares.keys()

    @cached_property
    def categories(self) -> Categories:
        """The category table of the JSON files.

        Raises:
            ValueError: a table is invalid, or two files have different ones.
        """
        return common_categories(self.root, self.parts, self._category_rows)

    def samples(self, findings: Findings) -> list[Sample]:
        """The images in the order of the JSON files; see `Source.samples`."""
        samples: list[Sample] = []
        for part in self.parts:
            listed = self._samples_of(part, findings)
            samples += part.split.assign(listed, self.classes_of)
        return require_every_split(self._splits, samples, self.root)

    def classes_of(self, sample: Sample) -> set[int]:
        """The category ids in the annotations; no PNG is read."""
        assert isinstance(sample, CocoSample), "a sample of another source"
        rows = keep_rows(
            SEGMENT, named_rows("segments_info", sample.rows()), sample.labels, Findings()
        )
        return {row.category_id for _, row in rows}

    def read(self, sample: Sample, findings: Findings) -> Panoptic:
        """The segments with their own ids, measured again; see `Source.read`."""
        assert isinstance(sample, CocoSample), "a sample of another source"
        infos = sample.rows()
        labels = sample.labels
        named = named_rows("segments_info", infos)
        rows = require_rows(SEGMENT, named, labels, findings)
        category_of = {row.id: row.category_id for _, row in rows}
        unknown = set(category_of.values()) - set(self.categories.index)
        if unknown:
            raise ValueError(
                f"{labels}: expected categories of the table, but segments_info has "
                f"{sorted(unknown)[:5]} - add them to the table"
            )
        if len(category_of) != len(rows):
            raise ValueError(
                f"{labels}: expected each id once in segments_info, but one is repeated - "
                "renumber the segments"
            )
        crowds = {row.id for _, row in rows if row.iscrowd}
        ids = rgb_to_ids(read_label_colors(labels))
        try:
            panoptic = Panoptic.from_ids(ids, category_of, crowds=crowds)
        except ValueError as error:
            raise ValueError(f"{labels}: {error}") from error
        absent = category_of.keys() - panoptic.category_of.keys()
        if absent:
            raise ValueError(
                f"{labels}: expected pixels for every segment, but ids "
                f"{sorted(absent)[:5]} have none - remove them from the JSON file"
            )
        info_of = {info["id"]: info for info in infos}
        for segment in panoptic.segments:
            _compare(info_of[segment.id], segment, labels, findings)
        return panoptic

    def _category_rows(self, part: CocoPart) -> tuple[Path, list[CategoryRow]]:
        """The path of a JSON file and its table; the file is read unless `samples` has read it."""
        if part.annotations in self._tables:
            return inside(self.root, part.annotations), self._tables[part.annotations]
        path, index = read_index(self.root, part, "COCO JSON")
        return path, category_rows(path, index)

    def _samples_of(self, part: CocoPart, findings: Findings) -> list[Sample]:
        path, index = read_index(self.root, part, "COCO panoptic JSON")
        self._tables[part.annotations] = category_rows(path, index)
        image_folder = require_folder(inside(self.root, part.images))
        labels = path.with_suffix("") if part.labels is None else inside(self.root, part.labels)
        label_folder = require_folder(labels)
        images = list_images(path, index, image_folder, IMAGE, findings)
        known_ids = known_image_ids(index)
        annotation_of = _annotation_of_image(path, index["annotations"], findings)
        for image_id in sorted(annotation_of.keys() - known_ids):
            findings.error(
                path,
                f"expected an image for every annotation, but there is no image {image_id}",
                "either add it or remove the row",
            )
        samples: list[Sample] = []
        for image in images:
            if image.row.id not in annotation_of:
                findings.error(
                    path,
                    "expected a valid annotation for every image, but "
                    f"{image.row.file_name} has none",
                    "either label it or remove it",
                )
                continue
            annotation = annotation_of.pop(image.row.id)
            try:
                label_file = inside(label_folder, annotation.file_name)
            except ValueError:
                findings.error(
                    path,
                    f"expected a file name below {label_folder}, but the annotation of image "
                    f"{image.row.id} has {shorten(annotation.file_name)}",
                    "use names relative to that folder, without '..'",
                )
                continue
            sample = CocoSample(
                UNASSIGNED,
                name=image.name,
                image_file=image.file,
                labels_file=str(label_file),
                image_id=image.row.id,
                rows_text=annotation.segments_text,
            )
            samples.append(sample)
        return samples


def _annotation_of_image(
    path: Path, annotations: Sequence[Any], findings: Findings
) -> dict[int, _Annotation]:
    """Image id -> its annotation; invalid rows become errors, and an image with two has none."""
    kept = []
    for index, row in enumerate(annotations):
        item = item_name("annotations", index, row)
        for _, valid in keep_rows(ANNOTATION, [(item, row)], path, findings):
            text = json.dumps(valid.segments_info, separators=(",", ":")).encode()
            kept.append(_Annotation(index, valid.image_id, valid.file_name, text))
    num_rows = Counter(annotation.image_id for annotation in kept)
    annotation_of = {}
    for annotation in kept:
        image_id = annotation.image_id
        if num_rows[image_id] == 1:
            annotation_of[image_id] = annotation
            continue
        item = item_name("annotations", annotation.index, annotations[annotation.index])
        findings.error(
            path,
            f"expected one annotation per image, but {item} is one of {num_rows[image_id]} "
            f"of image {image_id}",
            "remove the repeated rows",
        )
    return annotation_of


def _compare(info: dict[str, Any], segment: Segment, path: Path, findings: Findings) -> None:
    """Report an `area` or `bbox` in `segments_info` that is not exactly that of the pixels."""
    measured = {"area": segment.area, "bbox": list(segment.bbox)}
    for key, value in measured.items():
        if key in info and info[key] != value:
            findings.warn(
                path,
                f"expected the {key} of segment {segment.id} to be that of its pixels, {value}, "
                f"but segments_info has {shorten(info[key])}",
                "export both together again; the pixels are used",
            )
