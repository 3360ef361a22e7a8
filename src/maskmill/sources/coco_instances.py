"""Instance data in COCO's form: a JSON file with polygons, RLE masks and crowds, and images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import inside
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.rle import rle_runs
from maskmill.sources.box_mask import BoxMask
from maskmill.sources.coco_annotations import (
    ANNOTATION,
    POLYGONS,
    AnnotationRow,
    compare_area_and_box,
    root_category,
    rows_by_image,
)
from maskmill.sources.coco_index import (
    CategoryRow,
    CocoPart,
    CocoSample,
    SizedImageRow,
    category_rows,
    common_categories,
    list_images,
    read_index,
)
from maskmill.sources.finding import Findings
from maskmill.sources.folders import require_folder
from maskmill.sources.layers import Layer, Overlap, stack
from maskmill.sources.pairs import UNASSIGNED
from maskmill.sources.polygons import Rasterizer, keep_valid_polygons, polygon_mask
from maskmill.sources.rows import check_row, item_name, require_rows
from maskmill.sources.source import Sample, Source
from maskmill.sources.splits import require_every_split


@dataclass(frozen=True, slots=True, repr=False)
class InstanceSample(CocoSample):
    """A sample with its annotations; its labels are the JSON file.

    Args:
        size: height and width.
        indices: where the annotations are in the JSON file, for messages; not part of the repr, so
            that the cache of converted images knows a sample whose row has moved.
    """

    size: tuple[int, int] = (0, 0)
    indices: tuple[int, ...] = ()

    def __repr__(self) -> str:
        return f"{CocoSample.__repr__(self)}, {self.size}"


IMAGE = TypeAdapter(SizedImageRow)


class CocoInstances(Source):
    """COCO instances, and any data set exported to that form.

    All categories are things; pixels of no object are void.

    Args:
        root: the data set's folder.
        parts: its JSON files, and the splits of their images.
        background: names of categories that mean "no object", which some exporters write.
        overlap: which of two objects gets the pixels of both; see `layers.stack`.
        rasterizer: how polygons are filled; `coco` is the official way.

    Raises:
        ValueError: there are no parts, or shares do not sum to 1.
    """

    def __init__(
        self,
        root: Path,
        parts: Sequence[CocoPart],
        *,
        background: Sequence[str] = (),
        overlap: Overlap = "smaller",
        rasterizer: Rasterizer = "coco",
    ) -> None:
        if not parts:
            raise ValueError(
                "Expected at least one part, but got none - add its files to conf/source"
            )
        self.root = root
        self.parts = tuple(parts)
        self.background = frozenset(background)
        self.overlap: Overlap = overlap
        self.rasterizer: Rasterizer = rasterizer
        self._tables: dict[str, list[CategoryRow]] = {}  # by JSON file, of those that were read

    @cached_property
    def categories(self) -> Categories:
        """The category table of the JSON files, without the background.

        Raises:
            ValueError: a table is invalid, or two files have different ones.
        """
        return common_categories(self.root, self.parts, self._table)

    def samples(self, findings: Findings) -> list[Sample]:
        """The images in the order of the JSON files; see `Source.samples`.

        Annotations of unknown images become findings.
        """
        samples: list[Sample] = []
        splits: set[str] = set()
        for part in self.parts:
            listed = self._samples_of(part, findings)
            samples += part.split.assign(listed, self.classes_of)
            splits |= part.split.shares.keys()
        return require_every_split(splits, samples, self.root)

    def classes_of(self, sample: Sample) -> set[int]:
        """The category ids in the annotations."""
        assert isinstance(sample, InstanceSample), "a sample of another source"
        annotated = set()
        for row in sample.rows():
            if type(row.get("category_id")) is int:
                annotated.add(row["category_id"])
        return annotated & set(self.categories.index)

    def files(self, sample: Sample) -> tuple[Path, ...]:
        """The image alone: the sample itself contains its annotations."""
        return (sample.image,)

    def read(self, sample: Sample, findings: Findings) -> Panoptic:
        """The objects on top of each other; see `Source.read`."""
        assert isinstance(sample, InstanceSample), "a sample of another source"
        file = sample.labels
        numbered = zip(sample.indices, sample.rows(), strict=True)
        named = [(item_name("annotations", index, row), row) for index, row in numbered]
        layers = []
        for item, row in require_rows(ANNOTATION, named, file, findings):
            name = f"{item} of image {sample.image_id}"
            if row.category_id not in self.categories:
                raise ValueError(
                    f"{file}: expected categories of the table, but {name} has "
                    f"{row.category_id} - add it to the table"
                )
            mask = self._mask(row, sample, file, name, findings)
            if mask is not None:
                compare_area_and_box(row, mask, file, name, findings)
                layers.append(Layer(mask, row.category_id, name, row.iscrowd))
        return stack(layers, sample.size, self.categories, self.overlap, file, findings)

    def _table(self, part: CocoPart) -> tuple[Path, list[CategoryRow]]:
        """The path of a JSON file and its things; the file is read unless `samples` has read it."""
        if part.annotations in self._tables:
            return inside(self.root, part.annotations), self._tables[part.annotations]
        path, index = read_index(self.root, part, "COCO JSON")
        return path, self._things(path, index)

    def _things(self, path: Path, index: dict[str, Any]) -> list[CategoryRow]:
        """The categories as things, without the background and without an export's root."""
        rows = category_rows(path, index)
        root_id = root_category(rows, index)
        kept = []
        for row in rows:
            if row.name not in self.background and row.id != root_id:
                kept.append(replace(row, isthing=True))
        return kept

    def _mask(
        self, row: AnnotationRow, sample: InstanceSample, file: Path, name: str, findings: Findings
    ) -> BoxMask | None:
        """The pixels of an annotation, or None if it has no shape."""
        shape = row.segmentation
        if shape is None or shape == []:
            findings.warn(
                file,
                f"expected {name} with a segmentation, but it has none",
                "either label it or remove it; it is not used",
            )
            return None
        try:
            if isinstance(shape, dict):
                return BoxMask.from_runs(rle_runs(shape, sample.size), sample.size[0])
            flat_polygons = check_row(POLYGONS, {"segmentation": shape}, name).segmentation
        except ValueError as error:
            raise ValueError(
                f"{file}: {name} has no valid mask: {error} - export it again"
            ) from error
        if any(len(numbers) % 2 for numbers in flat_polygons):
            findings.warn(
                file,
                f"expected x and y of every point of {name}, but one has no y",
                "export it again",
            )
        polygons = []
        for numbers in flat_polygons:
            points = np.array(numbers, np.float64)[: len(numbers) // 2 * 2]
            polygons.append(points.reshape(-1, 2))
        polygons = keep_valid_polygons(polygons, sample.size, file, name, findings)
        return polygon_mask(polygons, sample.size, self.rasterizer) if polygons else None

    def _samples_of(self, part: CocoPart, findings: Findings) -> list[Sample]:
        path, index = read_index(self.root, part, "COCO instances JSON")
        folder = require_folder(inside(self.root, part.images))
        images = list_images(path, index, folder, IMAGE, findings)
        background = {row.id for row in category_rows(path, index) if row.name in self.background}
        rows_of = rows_by_image(path, index, background, findings)
        self._tables[part.annotations] = self._things(path, index)
        labels_file = str(path)
        samples: list[Sample] = []
        for image in images:
            owned = rows_of.pop(image.row.id)
            assert isinstance(image.row, SizedImageRow), "the rows of another schema"
            sample = InstanceSample(
                UNASSIGNED,
                name=image.name,
                image_file=image.file,
                labels_file=labels_file,
                image_id=image.row.id,
                rows_text=owned.as_list(),
                size=(image.row.height, image.row.width),
                indices=tuple(owned.indices),
            )
            samples.append(sample)
        return samples
