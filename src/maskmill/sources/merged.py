"""Two data sets of the same images as one: class masks of one source, objects of another."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import VOID_ID, Panoptic
from maskmill.canonical.runs import relabel
from maskmill.sources.finding import Findings
from maskmill.sources.images import require_size
from maskmill.sources.source import Sample, Source


@dataclass(frozen=True, slots=True)
class MergedSample(Sample):
    """A sample of both sources: `below` has the class mask, `above` the objects."""

    below: Sample | None = None
    above: Sample | None = None


class Merged(Source):
    """Panoptic labels from semantic ones and instances.

    Images are matched by name. Images, splits and class masks come from `semantic`. The rule for
    overlaps: **objects are on top of the class mask**. The rest of the class mask is stuff; its
    pixels of a class that is a thing in `instances` are void, since no object contains them.
    Classes with the same name are the same; a class whose id is already used gets the next free id.

    Args:
        root: not used itself; both sources have roots of their own, which may be the same.
        semantic: gives a class per pixel.
        instances: gives objects.
    """

    def __init__(self, root: Path, semantic: Source, instances: Source) -> None:
        self.root = root
        self.semantic = semantic
        self.instances = instances

    @cached_property
    def categories(self) -> Categories:
        """The classes of the class masks, then the things that only the objects have."""
        things = {}
        for category in self.instances.categories:
            if category.isthing:
                things[category.name] = category
        table = []
        for category in self.semantic.categories:
            table.append(replace(category, isthing=category.name in things))
        names = {category.name for category in table}
        used_ids = {category.id for category in table}
        for name, thing in things.items():
            if name not in names:
                new_id = thing.id if thing.id not in used_ids else max(used_ids) + 1
                used_ids.add(new_id)
                table.append(replace(thing, id=new_id))
        return Categories(table)

    def samples(self, findings: Findings) -> list[Sample]:
        """The samples of `semantic`; see `Source.samples`.

        Images that only one of the two sources has become findings.
        """
        below = self.semantic.samples(findings)
        above = {sample.name: sample for sample in self.instances.samples(findings)}
        for name in sorted(above.keys() - {sample.name for sample in below}):
            findings.error(
                above[name].labels,
                f"expected a class mask of {name} too, but there is none",
                "either add it or remove these labels",
            )
        merged: list[Sample] = []
        for sample in below:
            if sample.name not in above:
                findings.error(
                    sample.labels,
                    f"expected objects of {sample.name} too, but there are none",
                    "either add them or remove the image",
                )
                continue
            pair = MergedSample(
                sample.split,
                sample.name,
                sample.image_file,
                sample.labels_file,
                sample.image_id,
                sample.group,
                below=sample,
                above=above[sample.name],
            )
            merged.append(pair)
        return merged

    def files(self, sample: Sample) -> tuple[Path, ...]:
        """The files of both sources."""
        below, above = _both(sample)
        return self.semantic.files(below) + self.instances.files(above)

    def read(self, sample: Sample, findings: Findings) -> Panoptic:
        """Objects on top of the class mask; see `Source.read`."""
        below_sample, above_sample = _both(sample)
        below = self.semantic.read(below_sample, findings)
        above = self.instances.read(above_sample, findings)
        require_size(above.size, below.size, above_sample.labels)
        category_of: dict[int, int] = {}
        stuff_ids: dict[int, int] = {}
        for new_id, segment in enumerate(below.segments, start=1):
            if not self.categories[segment.category_id].isthing:
                stuff_ids[segment.id] = new_id
                category_of[new_id] = segment.category_id
        id_of_name = {category.name: category.id for category in self.categories}
        thing_ids: dict[int, int] = {}
        crowds = set()
        new_id = len(below.segments)
        for segment in above.segments:
            category = self.instances.categories[segment.category_id]
            if not category.isthing:
                continue
            new_id += 1
            thing_ids[segment.id] = new_id
            category_of[new_id] = id_of_name[category.name]
            if segment.iscrowd:
                crowds.add(new_id)
        stuff = relabel(below.ids, stuff_ids, default=VOID_ID)
        things = relabel(above.ids, thing_ids, default=VOID_ID)
        return Panoptic.from_ids(np.where(things > 0, things, stuff), category_of, crowds=crowds)


def _both(sample: Sample) -> tuple[Sample, Sample]:
    assert isinstance(sample, MergedSample), "a sample of another source"
    assert sample.below is not None
    assert sample.above is not None
    return sample.below, sample.above
