"""Panoptic data in COCO's form: per split a JSON file, a folder of id PNGs, and one of images."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import inside
from maskmill.canonical.panoptic import Panoptic, Segment
from maskmill.canonical.png import rgb_to_ids
from maskmill.sources.coco_index import CocoPart, CocoSample, common_categories, read_index
from maskmill.sources.finding import Findings
from maskmill.sources.folders import require_folder
from maskmill.sources.images import read_label_colors
from maskmill.sources.pairs import UNASSIGNED
from maskmill.sources.source import Sample, Source
from maskmill.sources.splits import require_every_split

__all__ = ["CocoPanoptic", "CocoPart"]  # configurations name CocoPart here


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
        self._splits: set[str] = set()
        for part in self.parts:
            self._splits |= part.split.shares.keys()

    @cached_property
    def categories(self) -> Categories:
        """The category table of the JSON files.

        Raises:
            ValueError: two files have different tables.
        """
        return common_categories(self.root, self.parts, Categories.from_list)

    def samples(self, findings: Findings) -> list[Sample]:
        """The images in the order of the JSON files; see `Source.samples`."""
        samples = []
        for part in self.parts:
            listed = self._samples_of(part, findings)
            samples += part.split.assign(listed, self.classes_of)
        return require_every_split(self._splits, samples, self.root)

    def classes_of(self, sample: Sample) -> set[int]:
        """The category ids in the annotations; no PNG is read."""
        assert isinstance(sample, CocoSample), "a sample of another source"
        return {int(info["category_id"]) for info in sample.segments_info}

    def read(self, sample: Sample, findings: Findings) -> Panoptic:
        """The segments with their own ids, measured again; see `Source.read`."""
        assert isinstance(sample, CocoSample), "a sample of another source"
        info_of = {int(info["id"]): info for info in sample.segments_info}
        category_of = {key: int(info["category_id"]) for key, info in info_of.items()}
        unknown = set(category_of.values()) - set(self.categories.index)
        if unknown:
            raise ValueError(
                f"{sample.labels}: expected categories of the table, but segments_info has "
                f"{sorted(unknown)[:5]} - add them to the table"
            )
        if len(info_of) != len(sample.segments_info):
            raise ValueError(
                f"{sample.labels}: expected each id once in segments_info, but one is repeated - "
                "renumber the segments"
            )
        crowds = {key for key, info in info_of.items() if info.get("iscrowd")}
        ids = rgb_to_ids(read_label_colors(sample.labels))
        try:
            panoptic = Panoptic.from_ids(ids, category_of, crowds=crowds)
        except ValueError as error:
            raise ValueError(f"{sample.labels}: {error}") from error
        absent = info_of.keys() - panoptic.category_of.keys()
        if absent:
            raise ValueError(
                f"{sample.labels}: expected pixels for every segment, but ids "
                f"{sorted(absent)[:5]} have none - remove them from the JSON file"
            )
        for segment in panoptic.segments:
            _compare(info_of[segment.id], segment, sample.labels, findings)
        return panoptic

    def _samples_of(self, part: CocoPart, findings: Findings) -> list[Sample]:
        path, index = read_index(self.root, part, "COCO panoptic JSON")
        image_folder = require_folder(inside(self.root, part.images))
        labels = path.with_suffix("") if part.labels is None else inside(self.root, part.labels)
        label_folder = require_folder(labels)
        row_of = {int(row["image_id"]): row for row in index["annotations"]}
        if len(row_of) != len(index["annotations"]):
            raise ValueError(
                f"{path}: expected one annotation per image, but an image_id is repeated - "
                "remove the repeated row"
            )
        image_ids = {int(image["id"]) for image in index["images"]}
        for image_id in sorted(row_of.keys() - image_ids):
            findings.error(
                path,
                f"expected an image for every annotation, but there is no image {image_id}",
                "either add it or remove the row",
            )
        samples: list[Sample] = []
        for image in index["images"]:
            image_id = int(image["id"])
            if image_id not in row_of:
                findings.error(
                    path,
                    f"expected an annotation for every image, but {image['file_name']} has none",
                    "either label it or remove it",
                )
                continue
            row = row_of[image_id]
            sample = CocoSample(
                UNASSIGNED,
                name=Path(image["file_name"]).with_suffix("").as_posix(),
                image=inside(image_folder, image["file_name"]),
                labels=inside(label_folder, row["file_name"]),
                image_id=image_id,
                segments_info=tuple(row["segments_info"]),
            )
            samples.append(sample)
        return samples


def _compare(info: dict[str, Any], segment: Segment, path: Path, findings: Findings) -> None:
    """Report an `area` or `bbox` in `segments_info` that is not exactly that of the pixels."""
    measured = {"area": segment.area, "bbox": list(segment.bbox)}
    for key, value in measured.items():
        if key in info and info[key] != value:
            findings.warn(
                path,
                f"expected the {key} of segment {segment.id} to be that of its pixels, {value}, "
                f"but segments_info has {info[key]}",
                "export both together again; the pixels are used",
            )
