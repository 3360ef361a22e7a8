"""ADE20K in its full native layout (Zhou et al., IJCV 2019).

Beside each NAME.jpg are NAME_seg.png with classes and instances, and NAME.json with the objects.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval
from pydantic import TypeAdapter

from maskmill.canonical.categories import MAX_CATEGORIES, Categories
from maskmill.canonical.files import inside
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.runs import joint_histogram
from maskmill.sources.finding import Findings
from maskmill.sources.folders import list_files, require_folder
from maskmill.sources.images import read_label_colors
from maskmill.sources.pairs import UNASSIGNED
from maskmill.sources.rows import CategoryId, Id, Text, check_row, require_rows
from maskmill.sources.source import Sample, Source
from maskmill.sources.splits import Split, as_split, require_every_split

UNLABELLED = 0
ENCODING = "latin-1"  # the files contain place names of the whole world, and are not UTF-8


@dataclass(frozen=True)
class PartRow:
    """Whether an object is a whole one (0), or a part of one."""

    part_level: Id


@dataclass(frozen=True)
class ObjectRow:
    """An entry of `object`."""

    name_ndx: CategoryId
    name: Text
    parts: PartRow


@dataclass(frozen=True)
class ObjectsRow:
    """The list of objects."""

    object: list[Any]


@dataclass(frozen=True)
class FileRow:
    """The content of a JSON file."""

    annotation: ObjectsRow


OBJECT = TypeAdapter(ObjectRow)
FILE = TypeAdapter(FileRow)


class Ade20k(Source):
    """Whole objects with their instances; parts of objects are ignored.

    The data set has more than 3,000 classes, most of them in very few images. The `max_classes`
    that are in most images make the table: ids are the data set's own `name_ndx`, names are the
    first of its synonyms. Pixels of other classes are void.

    Args:
        root: the folder that contains ADE20K_2021_17_01.
        parts: folder below the root, with its subfolders -> the splits of its images.
        stuff: names of classes that are stuff; all others are things.
        max_classes: the largest number of classes.
        seed: seed of the hash that assigns images to splits.
    """

    def __init__(
        self,
        root: Path,
        parts: Mapping[str, Mapping[str, float] | Split],
        *,
        stuff: Sequence[str] = (),
        max_classes: Annotated[int, Interval(ge=1, le=MAX_CATEGORIES)] = 150,
        seed: int = 0,
    ) -> None:
        self.root = root
        self.stuff = frozenset(stuff)
        self.max_classes = max_classes
        self.parts = {folder: as_split(shares, seed=seed) for folder, shares in parts.items()}

    @cached_property
    def categories(self) -> Categories:
        """The classes that are in most images of all parts."""
        num_images: Counter[int] = Counter()
        names: dict[int, str] = {}
        for sample in self.samples(Findings()):
            whole = {}
            for row in _valid_objects(sample):
                if row.parts.part_level == 0:
                    whole[row.name_ndx] = row.name
            num_images.update(whole.keys())
            names |= whole
        if not names:
            raise ValueError(
                f"{self.root}: expected objects in the JSON files, but no valid file has one - "
                "check `source.root`"
            )
        by_frequency = sorted(num_images, key=lambda class_id: (-num_images[class_id], class_id))
        chosen = sorted(by_frequency[: self.max_classes])
        short_names = {
            class_id: names[class_id].split(",")[0] or names[class_id] for class_id in chosen
        }
        num_uses = Counter(short_names.values())
        rows = []
        for class_id, short_name in short_names.items():
            name = short_name if num_uses[short_name] == 1 else names[class_id]
            isthing = int(short_name not in self.stuff)
            rows.append({"id": class_id, "name": name, "isthing": isthing})
        return Categories.from_list(rows)

    def samples(self, findings: Findings) -> list[Sample]:
        """The images sorted by name, part by part; see `Source.samples`."""
        samples: list[Sample] = []
        for part, split in self.parts.items():
            folder = require_folder(inside(self.root, part))
            listed = []
            files = list_files(folder, findings)
            images = [file for file in files if file.suffix.lower() == ".jpg"]
            for path in images:
                name = path.relative_to(folder).with_suffix("").as_posix()
                listed.append(
                    Sample(UNASSIGNED, name, str(path), str(path.with_name(f"{path.stem}_seg.png")))
                )
            stems = {image.with_suffix("") for image in images}
            for path in [file for file in files if file.name.endswith("_seg.png")]:
                stem = path.with_name(path.stem.removesuffix("_seg"))
                if stem not in stems:
                    findings.error(
                        path,
                        f"expected the image {stem.name}.jpg beside these labels, but there is "
                        "none",
                        "either add it or remove them",
                    )
            assigned = split.assign(listed, self.classes_of)
            samples += require_every_split(split.shares, assigned, folder)
        return samples

    def files(self, sample: Sample) -> tuple[Path, ...]:
        """The image, its segments and its objects."""
        return sample.image, sample.labels, sample.image.with_suffix(".json")

    def classes_of(self, sample: Sample) -> set[int]:
        """The category ids in the JSON file; no PNG is read."""
        return {row.name_ndx for row in _valid_objects(sample)}

    def read(self, sample: Sample, findings: Findings) -> Panoptic:
        """Things by instance, stuff by class; see `Source.read`."""
        listed = {row.name_ndx for row in _objects(sample, findings)}
        colors = read_label_colors(sample.labels).astype(np.int32)
        classes = colors[..., 0] // 10 * 256 + colors[..., 1]
        instances = colors[..., 2]
        class_ids, instance_ids, _ = joint_histogram(classes, instances)
        unknown = set(class_ids.tolist()) - listed - {UNLABELLED}
        if unknown:
            raise ValueError(
                f"{sample.labels}: expected classes of the objects in {sample.image.stem}.json, "
                f"but got {sorted(unknown)[:5]} - replace both by files of the same release"
            )
        category_of: dict[int, int] = {}
        ids = np.zeros(classes.shape, np.int32)
        for class_id, instance_id in zip(class_ids.tolist(), instance_ids.tolist(), strict=True):
            if class_id not in self.categories:
                continue
            segment_id = class_id * 256  # below 2**24: there are fewer than 4,000 classes
            if self.categories[class_id].isthing:
                segment_id += instance_id
            category_of[segment_id] = class_id
            ids[(classes == class_id) & (instances == instance_id)] = segment_id
        return Panoptic.from_ids(ids, category_of)


def _objects(sample: Sample, findings: Findings) -> list[ObjectRow]:
    """The objects of an image, whole ones and parts.

    Raises:
        FileNotFoundError: there is no JSON file.
        ValueError: it is invalid; each invalid row is an error in `findings` too.
    """
    path = sample.image.with_suffix(".json")
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected the objects of {sample.image.name}, but there is no such file - "
            "add it"
        )
    try:
        content = json.loads(path.read_text(encoding=ENCODING))
        rows = check_row(FILE, content, "the file").annotation.object
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error} - replace the file by ADE20K's JSON") from error
    named = [(f"object[{index}]", row) for index, row in enumerate(rows)]
    return [row for _, row in require_rows(OBJECT, named, path, findings)]


def _valid_objects(sample: Sample) -> list[ObjectRow]:
    """The objects of an image, none if its JSON file is invalid: `read` reports it."""
    try:
        return _objects(sample, Findings())
    except (ValueError, OSError):
        return []
