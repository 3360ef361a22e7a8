"""ADE20K in its full native layout (Zhou et al., IJCV 2019): NAME.jpg, NAME_seg.png with classes and instances, NAME.json beside it."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from maskmill.canonical.categories import MAX_CATEGORIES, Categories
from maskmill.canonical.files import inside
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.runs import joint_histogram
from maskmill.sources.finding import Findings
from maskmill.sources.folders import require_folder
from maskmill.sources.images import read_label_colors
from maskmill.sources.source import Sample, Source
from maskmill.sources.splits import Split, require_each, split_of

UNLABELLED = 0
ENCODING = "latin-1"  # the files name places of the whole world, not in UTF-8


class Ade20k(Source):
    """Whole objects with their instances; parts of objects are left aside.

    The data set has more than 3,000 classes, most of them in a handful of images. The `max_classes` found in most images make the table
    (ids are the data set's own `name_ndx`, names the first of its synonyms); pixels of others are void.

    Args:
        root: the folder that holds ADE20K_2021_17_01.
        parts: folder below the root, searched through -> the splits it becomes.
        stuff: names of classes that are stuff; all others are things.
        max_classes: at most as many classes.
        seed: of the dealing by hash.

    Raises:
        ValueError: `max_classes` is not in 1..254.
    """

    def __init__(
        self,
        root: Path,
        parts: Mapping[str, Mapping[str, float] | Split],
        *,
        stuff: Sequence[str] = (),
        max_classes: int = 150,
        seed: int = 0,
    ) -> None:
        if not 1 <= max_classes <= MAX_CATEGORIES:
            raise ValueError(
                f"Expected `max_classes` in 1..{MAX_CATEGORIES}, but got {max_classes} - mend conf/source"
            )
        self.root, self.stuff, self.max_classes = root, frozenset(stuff), max_classes
        self.parts = {folder: split_of(shares, seed=seed) for folder, shares in parts.items()}

    @cached_property
    def categories(self) -> Categories:
        """The classes of the images at hand."""
        images: Counter[int] = Counter()
        names: dict[int, str] = {}
        for sample in self.samples(Findings()):
            found = {
                int(row["name_ndx"]): str(row["name"])
                for row in _objects(sample)
                if row["parts"]["part_level"] == 0
            }
            images.update(found.keys())
            names |= found
        chosen = sorted(sorted(images, key=lambda key: (-images[key], key))[: self.max_classes])
        short = Counter(names[key].split(",")[0] for key in chosen)
        rows = []
        for key in chosen:
            first = names[key].split(",")[0]
            rows.append(
                {
                    "id": key,
                    "name": first if short[first] == 1 else names[key],
                    "isthing": int(first not in self.stuff),
                }
            )
        return Categories.from_list(rows)

    def samples(self, findings: Findings) -> list[Sample]:
        """The images in the order of their names; see `Source.samples`."""
        samples: list[Sample] = []
        for folder, split in self.parts.items():
            place = require_folder(inside(self.root, folder))
            found = []
            for path in sorted(place.rglob("*.jpg")):
                name = path.relative_to(place).with_suffix("").as_posix()
                found.append(Sample("", name, path, path.with_name(f"{path.stem}_seg.png")))
            for path in sorted(place.rglob("*_seg.png")):
                image = path.with_name(f"{path.stem.removesuffix('_seg')}.jpg")
                if not image.is_file():
                    findings.error(
                        path,
                        f"expected the image {image.name} beside these labels, but there is none",
                        "add it or remove them",
                    )
            samples += require_each(split.shares, split.deal(found, self.classes_of), place)
        return samples

    def files(self, sample: Sample) -> tuple[Path, ...]:
        """The image, its segments and its objects."""
        return sample.image, sample.labels, sample.image.with_suffix(".json")

    def classes_of(self, sample: Sample) -> set[int]:
        """From the JSON file alone."""
        return {int(row["name_ndx"]) for row in _objects(sample)}

    def read(self, sample: Sample, findings: Findings) -> Panoptic:
        """Things by instance, stuff by class; see `Source.read`."""
        colors = read_label_colors(sample.labels)
        classes = colors[..., 0].astype(np.int32) // 10 * 256 + colors[..., 1]
        instances = colors[..., 2].astype(np.int32)
        values, numbers, _ = joint_histogram(classes, instances)
        known = {int(row["name_ndx"]) for row in _objects(sample)} | {UNLABELLED}
        strange = sorted(set(values.tolist()) - known)
        if strange:
            raise ValueError(
                f"{sample.labels}: expected classes of the objects in {sample.image.stem}.json, but got {strange[:5]} - "
                "replace both by those of one release"
            )
        category_of: dict[int, int] = {}
        ids = np.zeros(classes.shape, np.int32)
        for value, number in zip(values.tolist(), numbers.tolist(), strict=True):
            if value not in self.categories:
                continue
            category = self.categories[value]
            segment = value * 256 + (
                number if category.isthing else 0
            )  # below 2**24: there are fewer than 4,000 classes
            category_of[segment] = value
            ids[(classes == value) & (instances == number)] = segment
        return Panoptic.from_ids(ids, category_of)


def _objects(sample: Sample) -> list[dict[str, Any]]:
    """The objects of an image, whole ones and parts."""
    path = sample.image.with_suffix(".json")
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected the objects of {sample.image.name}, but there is no such file - add it"
        )
    try:
        rows = json.loads(path.read_text(encoding=ENCODING))["annotation"]["object"]
        return [dict(row) for row in rows]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: expected ADE20K's objects as JSON, but {error} - replace the file"
        ) from error
