"""Instance data in COCO's own form: a JSON file with polygons, RLE masks and crowds, and a folder of images for each split."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import inside, read_json
from maskmill.canonical.panoptic import Panoptic
from maskmill.sources.coco_panoptic import CocoPart, CocoSample
from maskmill.sources.finding import Findings
from maskmill.sources.folders import require_folder
from maskmill.sources.layers import Layer, Overlap, stack
from maskmill.sources.polygons import Mask, Rasterizer, polygon_mask, sound_polygons
from maskmill.sources.source import Sample, Source
from maskmill.sources.splits import require_each

EDGE_PX = (
    2.0  # how far a bbox may lie beside its mask: bboxes come from polygons, masks from pixels
)


@dataclass(frozen=True)
class InstanceSample(CocoSample):
    """A sample with its annotations and its size, height and width; `labels` is the JSON file, of which it holds its share."""

    size: tuple[int, int] = (0, 0)


class CocoInstances(Source):
    """COCO instances, and any data set exported to that form; all categories are things, pixels of no object are void.

    Args:
        root: the data set's folder.
        parts: its JSON files, and which splits they become.
        background: names of categories that stand for no object, as some exporters write them.
        overlap: which of two objects gets the pixels both have; see `layers.stack`.
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
        self.root, self.parts, self.background = root, tuple(parts), frozenset(background)
        self.overlap: Overlap = overlap
        self.rasterizer: Rasterizer = rasterizer
        if not self.parts:
            raise ValueError(
                "Expected at least one part, but got none - name its files in conf/source"
            )

    @cached_property
    def categories(self) -> Categories:
        """As in the first JSON file; the others must agree.

        Raises:
            ValueError: they do not.
        """
        tables = [_table(self._index(part)["categories"], self.background) for part in self.parts]
        for part, table in zip(self.parts, tables, strict=True):
            if table != tables[0]:
                raise ValueError(
                    f"{self.root}: expected one category table, but {self.parts[0].annotations} and {part.annotations} differ - "
                    "export both with the same table"
                )
        return tables[0]

    def samples(self, findings: Findings) -> list[Sample]:
        """The images in the order of the JSON files; annotations of no image are findings; see `Source.samples`."""
        samples = [sample for part in self.parts for sample in self._samples_of(part, findings)]
        return require_each(
            {split for part in self.parts for split in part.split.shares}, samples, self.root
        )

    def classes_of(self, sample: Sample) -> set[int]:
        """From the annotations alone."""
        assert isinstance(sample, InstanceSample), "a sample of another source"
        return {int(row["category_id"]) for row in sample.segments_info} & set(
            self.categories.index
        )

    def files(self, sample: Sample) -> tuple[Path, ...]:
        """The image alone: the sample holds its annotations."""
        return (sample.image,)

    def read(self, sample: Sample, findings: Findings) -> Panoptic:
        """The objects, laid over each other; see `Source.read`."""
        assert isinstance(sample, InstanceSample), "a sample of another source"
        layers = []
        for row in sample.segments_info:
            name = f"annotation {row['id']} of image {sample.image_id}"
            if int(row["category_id"]) not in self.categories:
                raise ValueError(
                    f"{sample.labels}: expected categories of the table, but {name} has {row['category_id']} - add it to the table"
                )
            mask = self._mask(row, sample, name, findings)
            if mask is not None:
                _compare(row, mask, sample, name, findings)
                layers.append(Layer(mask, int(row["category_id"]), name, bool(row.get("iscrowd"))))
        return stack(layers, sample.size, self.categories, self.overlap, sample.labels, findings)

    def _mask(
        self, row: dict[str, Any], sample: InstanceSample, name: str, findings: Findings
    ) -> Mask | None:
        """The pixels of an annotation, or None where it has none."""
        shape = row.get("segmentation")
        if isinstance(shape, dict):
            return _decode(shape, sample, name)
        if not isinstance(shape, list) or not shape:
            findings.warn(
                sample.labels,
                f"expected {name} with a segmentation, but it has none",
                "label it or remove it; it is left out",
            )
            return None
        polygons = [
            np.array(flat, np.float64)[: len(flat) // 2 * 2].reshape(-1, 2) for flat in shape
        ]
        if any(len(flat) % 2 for flat in shape):
            findings.warn(
                sample.labels,
                f"expected x and y of every point of {name}, but one lacks its y",
                "export it again",
            )
        polygons = sound_polygons(polygons, sample.size, sample.labels, name, findings)
        return polygon_mask(polygons, sample.size, self.rasterizer) if polygons else None

    def _samples_of(self, part: CocoPart, findings: Findings) -> list[Sample]:
        index, path = self._index(part), inside(self.root, part.annotations)
        folder = require_folder(inside(self.root, part.images))
        rows: dict[int, list[dict[str, Any]]] = {int(image["id"]): [] for image in index["images"]}
        background = {row["id"] for row in index["categories"] if row["name"] in self.background}
        for row in index["annotations"]:
            if int(row["image_id"]) not in rows:
                findings.error(
                    path,
                    f"expected an image for annotation {row['id']}, but there is no image {row['image_id']}",
                    "add it or remove the row",
                )
            elif row["category_id"] not in background:
                rows[int(row["image_id"])].append(row)
        samples: list[Sample] = []
        for image in index["images"]:
            name, key = Path(image["file_name"]).with_suffix("").as_posix(), int(image["id"])
            size = int(image["height"]), int(image["width"])
            place = inside(folder, image["file_name"])
            samples.append(InstanceSample("", name, place, path, key, tuple(rows[key]), size))
        return part.split.deal(samples, self.classes_of)

    def _index(self, part: CocoPart) -> dict[str, Any]:
        path = inside(require_folder(self.root), part.annotations)
        index = read_json(path)
        missing = {"images", "annotations", "categories"} - set(index)
        if missing:
            raise ValueError(
                f"{path}: expected COCO instances JSON, but it lacks {sorted(missing)} - check conf/source"
            )
        return dict(index)


def _table(rows: Sequence[dict[str, Any]], background: frozenset[str]) -> Categories:
    return Categories.from_list(
        [row | {"isthing": 1} for row in rows if row["name"] not in background]
    )


def _decode(runs: dict[str, Any], sample: InstanceSample, name: str) -> Mask:
    """An RLE mask, compressed or as a list of counts."""
    if tuple(runs.get("size", ())) != sample.size:
        raise ValueError(
            f"{sample.labels}: expected {name} of {sample.size[0]} x {sample.size[1]} pixels as its image, but its RLE has "
            f"{runs.get('size')} - export it again"
        )
    counts = runs.get("counts")
    if isinstance(counts, list) and (
        sum(counts) != sample.size[0] * sample.size[1] or min(counts) < 0
    ):
        raise ValueError(
            f"{sample.labels}: expected the runs of {name} to fill its image, but they sum to {sum(counts)} - export it again"
        )
    try:
        packed = coco_mask.frPyObjects(runs, *sample.size) if isinstance(counts, list) else runs
        return np.asarray(coco_mask.decode(packed), dtype=bool)
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{sample.labels}: expected an RLE mask for {name}, but it does not decode ({error}) - export it again"
        ) from error


def _compare(
    row: dict[str, Any], mask: Mask, sample: InstanceSample, name: str, findings: Findings
) -> None:
    """Hold `area` and `bbox` against the mask; tolerances are those of filling polygons by other rules."""
    if not mask.any():
        return  # reported when the layers are stacked
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = np.array([xs[0], ys[0], xs[-1] + 1, ys[-1] + 1], np.float64)
    area, outline = int(np.count_nonzero(mask)), 2 * (box[2] - box[0] + box[3] - box[1])
    if "area" in row and abs(row["area"] - area) > 0.1 * area + outline:
        findings.warn(
            sample.labels,
            f"expected the area of {name} as its mask has it, {area} px, but got {row['area']}",
            "export it again; not used",
        )
    if "bbox" in row:
        x, y, width, height = row["bbox"]
        beside = float(np.abs(box - (x, y, x + width, y + height)).max())
        if beside > EDGE_PX + 0.02 * max(box[2] - box[0], box[3] - box[1]):
            found = [int(box[0]), int(box[1]), int(box[2] - box[0]), int(box[3] - box[1])]
            findings.warn(
                sample.labels,
                f"expected the bbox of {name} around its mask, {found}, but got {row['bbox']}",
                "export it again; not used",
            )
