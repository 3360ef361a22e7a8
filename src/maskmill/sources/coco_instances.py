"""Instance data in COCO's form: a JSON file with polygons, RLE masks and crowds, and images."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import inside
from maskmill.canonical.panoptic import Panoptic
from maskmill.sources.coco_index import CocoPart, CocoSample, common_categories, read_index
from maskmill.sources.finding import Findings
from maskmill.sources.folders import require_folder
from maskmill.sources.layers import Layer, Overlap, stack
from maskmill.sources.pairs import UNASSIGNED
from maskmill.sources.polygons import Mask, Rasterizer, keep_valid_polygons, polygon_mask
from maskmill.sources.source import Sample, Source
from maskmill.sources.splits import require_every_split

# How far a bbox may be beside its mask: bboxes come from polygons, masks from pixels.
BBOX_TOLERANCE_PX = 2.0


@dataclass(frozen=True)
class InstanceSample(CocoSample):
    """A sample with its annotations and its size, height and width; `labels` is the JSON file."""

    size: tuple[int, int] = (0, 0)


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

    @cached_property
    def categories(self) -> Categories:
        """The category table of the JSON files, without the background.

        Raises:
            ValueError: two files have different tables.
        """
        return common_categories(self.root, self.parts, self._table)

    def samples(self, findings: Findings) -> list[Sample]:
        """The images in the order of the JSON files; see `Source.samples`.

        Annotations of unknown images become findings.
        """
        samples = []
        splits: set[str] = set()
        for part in self.parts:
            listed = self._samples_of(part, findings)
            samples += part.split.assign(listed, self.classes_of)
            splits |= part.split.shares.keys()
        return require_every_split(splits, samples, self.root)

    def classes_of(self, sample: Sample) -> set[int]:
        """The category ids in the annotations."""
        assert isinstance(sample, InstanceSample), "a sample of another source"
        annotated = {int(row["category_id"]) for row in sample.segments_info}
        return annotated & set(self.categories.index)

    def files(self, sample: Sample) -> tuple[Path, ...]:
        """The image alone: the sample itself contains its annotations."""
        return (sample.image,)

    def read(self, sample: Sample, findings: Findings) -> Panoptic:
        """The objects on top of each other; see `Source.read`."""
        assert isinstance(sample, InstanceSample), "a sample of another source"
        layers = []
        for row in sample.segments_info:
            name = f"annotation {row['id']} of image {sample.image_id}"
            category_id = int(row["category_id"])
            if category_id not in self.categories:
                raise ValueError(
                    f"{sample.labels}: expected categories of the table, but {name} has "
                    f"{row['category_id']} - add it to the table"
                )
            mask = self._mask(row, sample, name, findings)
            if mask is not None:
                _compare(row, mask, sample, name, findings)
                layers.append(Layer(mask, category_id, name, bool(row.get("iscrowd"))))
        return stack(layers, sample.size, self.categories, self.overlap, sample.labels, findings)

    def _table(self, rows: Sequence[dict[str, Any]]) -> Categories:
        kept = [row | {"isthing": 1} for row in rows if row["name"] not in self.background]
        return Categories.from_list(kept)

    def _mask(
        self, row: dict[str, Any], sample: InstanceSample, name: str, findings: Findings
    ) -> Mask | None:
        """The pixels of an annotation, (H, W) bool, or None if it has no shape."""
        shape = row.get("segmentation")
        if isinstance(shape, dict):
            return _decode(shape, sample, name)
        if not isinstance(shape, list) or not shape:
            findings.warn(
                sample.labels,
                f"expected {name} with a segmentation, but it has none",
                "either label it or remove it; it is not used",
            )
            return None
        if any(len(numbers) % 2 for numbers in shape):
            findings.warn(
                sample.labels,
                f"expected x and y of every point of {name}, but one has no y",
                "export it again",
            )
        polygons = []
        for numbers in shape:
            points = np.array(numbers, np.float64)[: len(numbers) // 2 * 2]
            polygons.append(points.reshape(-1, 2))
        polygons = keep_valid_polygons(polygons, sample.size, sample.labels, name, findings)
        return polygon_mask(polygons, sample.size, self.rasterizer) if polygons else None

    def _samples_of(self, part: CocoPart, findings: Findings) -> list[Sample]:
        path, index = read_index(self.root, part, "COCO instances JSON")
        folder = require_folder(inside(self.root, part.images))
        background = {row["id"] for row in index["categories"] if row["name"] in self.background}
        rows_of: dict[int, list[dict[str, Any]]] = {}
        for image in index["images"]:
            rows_of[int(image["id"])] = []
        for row in index["annotations"]:
            image_id = int(row["image_id"])
            if image_id not in rows_of:
                findings.error(
                    path,
                    f"expected an image for annotation {row['id']}, but there is no image "
                    f"{row['image_id']}",
                    "either add it or remove the row",
                )
            elif row["category_id"] not in background:
                rows_of[image_id].append(row)
        samples: list[Sample] = []
        for image in index["images"]:
            image_id = int(image["id"])
            sample = InstanceSample(
                UNASSIGNED,
                name=Path(image["file_name"]).with_suffix("").as_posix(),
                image=inside(folder, image["file_name"]),
                labels=path,
                image_id=image_id,
                segments_info=tuple(rows_of[image_id]),
                size=(int(image["height"]), int(image["width"])),
            )
            samples.append(sample)
        return samples


def _decode(runs: dict[str, Any], sample: InstanceSample, name: str) -> Mask:
    """An RLE mask, compressed or as a list of counts, to (H, W) bool."""
    height, width = sample.size
    if tuple(runs.get("size", ())) != sample.size:
        raise ValueError(
            f"{sample.labels}: expected {name} of {height} x {width} pixels like its image, but "
            f"its RLE has {runs.get('size')} - export it again"
        )
    counts = runs.get("counts")
    is_list = isinstance(counts, list)
    if isinstance(counts, list) and (sum(counts) != height * width or min(counts) < 0):
        raise ValueError(
            f"{sample.labels}: expected the runs of {name} to fill its image, but they sum to "
            f"{sum(counts)} - export it again"
        )
    try:
        packed = coco_mask.frPyObjects(runs, height, width) if is_list else runs
        return np.asarray(coco_mask.decode(packed), dtype=bool)
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{sample.labels}: expected an RLE mask for {name}, but it does not decode ({error}) - "
            "export it again"
        ) from error


def _compare(
    row: dict[str, Any], mask: Mask, sample: InstanceSample, name: str, findings: Findings
) -> None:
    """Report an `area` or `bbox` far from that of the mask; rasterizers differ at the outline."""
    if not mask.any():
        return  # reported when the layers are stacked
    ys = np.flatnonzero(mask.any(1))
    xs = np.flatnonzero(mask.any(0))
    box = np.array([xs[0], ys[0], xs[-1] + 1, ys[-1] + 1], np.float64)
    width = box[2] - box[0]
    height = box[3] - box[1]
    area = int(np.count_nonzero(mask))
    perimeter = 2 * (width + height)
    if "area" in row and abs(row["area"] - area) > 0.1 * area + perimeter:
        findings.warn(
            sample.labels,
            f"expected the area of {name} to be that of its mask, {area} px, but got {row['area']}",
            "export it again; the area is not used",
        )
    if "bbox" not in row:
        return
    x, y, row_width, row_height = row["bbox"]
    row_box = (x, y, x + row_width, y + row_height)
    distance = float(np.abs(box - row_box).max())
    if distance > BBOX_TOLERANCE_PX + 0.02 * max(width, height):
        measured = [int(box[0]), int(box[1]), int(width), int(height)]
        findings.warn(
            sample.labels,
            f"expected the bbox of {name} to enclose its mask, {measured}, but got {row['bbox']}",
            "export it again; the bbox is not used",
        )
