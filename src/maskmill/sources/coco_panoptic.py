"""Panoptic data in COCO's own form: a JSON file, a folder of id PNGs and a folder of images for each split."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from maskmill.canonical.categories import Categories
from maskmill.canonical.files import inside, read_json
from maskmill.canonical.panoptic import Panoptic, Segment
from maskmill.canonical.png import rgb_to_ids
from maskmill.sources.finding import Findings
from maskmill.sources.folders import require_folder
from maskmill.sources.images import read_label_colors
from maskmill.sources.source import Sample, Source
from maskmill.sources.splits import Split, require_each, split_of


@dataclass(frozen=True)
class CocoPart:
    """Where one JSON file and what it names lies, relative to the root.

    Args:
        annotations: the panoptic JSON file.
        images: the folder of the images.
        splits: split -> share of the images, dealt by hash of the file name (one split of share 1 takes all), or a rule of `splits`.
        labels: the folder of the PNGs; by default named as the JSON file, beside it.
        seed: of the dealing.
    """

    annotations: str
    images: str
    splits: dict[str, float] | Split
    labels: str | None = None
    seed: int = 0

    @property
    def split(self) -> Split:
        """The dealer."""
        return split_of(self.splits, seed=self.seed)


@dataclass(frozen=True)
class CocoSample(Sample):
    """A sample with its `segments_info`."""

    segments_info: tuple[dict[str, Any], ...] = ()


class CocoPanoptic(Source):
    """COCO panoptic, and any data set exported to that form.

    Args:
        root: the data set's folder.
        parts: its JSON files, and which splits they become.

    Raises:
        ValueError: there are no parts, or shares do not sum to 1.
    """

    def __init__(self, root: Path, parts: Sequence[CocoPart]) -> None:
        self.root, self.parts = root, tuple(parts)
        if not self.parts:
            raise ValueError(
                "Expected at least one part, but got none - name its files in conf/source"
            )
        self._splits = {split for part in self.parts for split in part.split.shares}

    @cached_property
    def categories(self) -> Categories:
        """As in the JSON files, which must agree.

        Raises:
            ValueError: they do not.
        """
        first, *others = self.parts
        table = Categories.from_list(self._index(first)["categories"])
        for other in others:
            if Categories.from_list(self._index(other)["categories"]) != table:
                raise ValueError(
                    f"{self.root}: expected one category table, but {first.annotations} and {other.annotations} differ - "
                    "export both with the same table"
                )
        return table

    def samples(self, findings: Findings) -> list[Sample]:
        """The images in the order of the JSON files; see `Source.samples`."""
        samples = [sample for part in self.parts for sample in self._samples_of(part, findings)]
        return require_each(self._splits, samples, self.root)

    def classes_of(self, sample: Sample) -> set[int]:
        """From the annotations alone."""
        assert isinstance(sample, CocoSample), "a sample of another source"
        return {int(info["category_id"]) for info in sample.segments_info}

    def read(self, sample: Sample, findings: Findings) -> Panoptic:
        """The segments with their own ids, measured afresh; see `Source.read`."""
        assert isinstance(sample, CocoSample), "a sample of another source"
        infos = {int(info["id"]): info for info in sample.segments_info}
        category_of = {key: int(info["category_id"]) for key, info in infos.items()}
        unknown = sorted({value for value in category_of.values() if value not in self.categories})
        if unknown:
            raise ValueError(
                f"{sample.labels}: expected categories of the table, but segments_info has {unknown[:5]} - add them to the table"
            )
        if len(infos) != len(sample.segments_info):
            raise ValueError(
                f"{sample.labels}: expected each id once in segments_info, but one stands twice - renumber the segments"
            )
        crowds = {key for key, info in infos.items() if info.get("iscrowd")}
        ids = rgb_to_ids(read_label_colors(sample.labels))
        try:
            panoptic = Panoptic.from_ids(ids, category_of, crowds=crowds)
        except ValueError as error:
            raise ValueError(f"{sample.labels}: {error}") from error
        absent = sorted(infos.keys() - panoptic.category_of.keys())
        if absent:
            raise ValueError(
                f"{sample.labels}: expected pixels for every segment, but ids {absent[:5]} have none - remove them from the JSON"
            )
        for segment in panoptic.segments:
            _compare(infos[segment.id], segment, sample.labels, findings)
        return panoptic

    def _samples_of(self, part: CocoPart, findings: Findings) -> list[Sample]:
        index = self._index(part)
        path = inside(self.root, part.annotations)
        images = require_folder(inside(self.root, part.images))
        labels = require_folder(
            path.with_suffix("") if part.labels is None else inside(self.root, part.labels)
        )
        rows = {int(row["image_id"]): row for row in index["annotations"]}
        samples: list[Sample] = []
        image_ids = {int(image["id"]) for image in index["images"]}
        for image_id in sorted(rows.keys() - image_ids):
            findings.error(
                path,
                f"expected an image for every annotation, but there is no image {image_id}",
                "add it or remove the row",
            )
        for image in index["images"]:
            if int(image["id"]) not in rows:
                findings.error(
                    path,
                    f"expected an annotation for every image, but {image['file_name']} has none",
                    "label or remove it",
                )
                continue
            row = rows[int(image["id"])]
            name = Path(image["file_name"]).with_suffix("").as_posix()
            samples.append(
                CocoSample(
                    "",
                    name,
                    inside(images, image["file_name"]),
                    inside(labels, row["file_name"]),
                    int(image["id"]),
                    tuple(row["segments_info"]),
                )
            )
        if len(rows) != len(index["annotations"]):
            raise ValueError(
                f"{path}: expected one annotation per image, but an image_id stands twice - remove the repeated row"
            )
        return part.split.deal(samples, self.classes_of)

    def _index(self, part: CocoPart) -> dict[str, Any]:
        path = inside(require_folder(self.root), part.annotations)
        index = read_json(path)
        missing = {"images", "annotations", "categories"} - set(index)
        if missing:
            raise ValueError(
                f"{path}: expected COCO panoptic JSON, but it lacks {sorted(missing)} - check conf/source"
            )
        return dict(index)


def _compare(info: dict[str, Any], segment: Segment, path: Path, findings: Findings) -> None:
    """Hold what `segments_info` says against the pixels, which it counts exactly."""
    for key, found in (("area", segment.area), ("bbox", list(segment.bbox))):
        if key in info and info[key] != found:
            findings.warn(
                path,
                f"expected the {key} of segment {segment.id} as its pixels have it, {found}, but segments_info says {info[key]}",
                "export both together again; the pixels are used",
            )
