"""Two data sets of the same images -> one: class maps of one source and the objects of another."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import Panoptic
from maskmill.canonical.runs import relabel
from maskmill.sources.finding import Findings
from maskmill.sources.images import require_size
from maskmill.sources.source import Sample, Source


@dataclass(frozen=True)
class MergedSample(Sample):
    """A sample of both sources: `below` has the class map, `above` the objects."""

    below: Sample | None = None
    above: Sample | None = None


class Merged(Source):
    """Panoptic labels from semantic ones and instances.

    Images are matched by name, and images, splits and class maps come from `semantic`. The rule for overlaps: **an object lies over the
    class map**; what remains of the class map below is stuff, and its pixels of a class that is a thing in `instances` are void, since
    no object claims them. Classes of both tables are one if their names are equal; a class whose id is taken gets the next free one.

    Args:
        root: not used by itself; both sources have roots of their own, which may be the same.
        semantic: gives a class per pixel.
        instances: gives objects.
    """

    def __init__(self, root: Path, semantic: Source, instances: Source) -> None:
        self.root, self.semantic, self.instances = root, semantic, instances

    @cached_property
    def categories(self) -> Categories:
        """Those of the class maps, then those only the objects have."""
        things = {one.name: one for one in self.instances.categories if one.isthing}
        table = [replace(one, isthing=one.name in things) for one in self.semantic.categories]
        taken = {one.id for one in table}
        for name, thing in things.items():
            if name not in {one.name for one in table}:
                key = thing.id if thing.id not in taken else max(taken) + 1
                taken.add(key)
                table.append(replace(thing, id=key))
        return Categories(table)

    def samples(self, findings: Findings) -> list[Sample]:
        """Those of `semantic`; images that only one of the two has are findings."""
        below = self.semantic.samples(findings)
        above = {sample.name: sample for sample in self.instances.samples(findings)}
        for name in sorted(above.keys() - {sample.name for sample in below}):
            findings.error(
                above[name].labels,
                f"expected a class map of {name} too, but there is none",
                "add it or remove these labels",
            )
        merged: list[Sample] = []
        for one in below:
            if one.name in above:
                merged.append(
                    MergedSample(
                        one.split,
                        one.name,
                        one.image,
                        one.labels,
                        one.image_id,
                        one,
                        above[one.name],
                    )
                )
            else:
                findings.error(
                    one.labels,
                    f"expected objects of {one.name} too, but there are none",
                    "add them or remove the image",
                )
        return merged

    def files(self, sample: Sample) -> tuple[Path, ...]:
        """Those of both sources."""
        below, above = _both(sample)
        return self.semantic.files(below) + self.instances.files(above)

    def read(self, sample: Sample, findings: Findings) -> Panoptic:
        """Objects over the class map; see `Source.read`."""
        lower_sample, upper_sample = _both(sample)
        below, above = (
            self.semantic.read(lower_sample, findings),
            self.instances.read(upper_sample, findings),
        )
        require_size(above.size, below.size, upper_sample.labels)
        ids_of = {one.name: one.id for one in self.categories}
        stuff = {
            segment.id: number
            for number, segment in enumerate(below.segments, start=1)
            if not self.categories[segment.category_id].isthing
        }
        objects = [
            one for one in above.segments if self.instances.categories[one.category_id].isthing
        ]
        things = {
            one.id: number for number, one in enumerate(objects, start=len(below.segments) + 1)
        }
        lower, upper = relabel(below.ids, stuff, default=0), relabel(above.ids, things, default=0)
        category_of = {stuff[one.id]: one.category_id for one in below.segments if one.id in stuff}
        category_of |= {
            things[one.id]: ids_of[self.instances.categories[one.category_id].name]
            for one in objects
        }
        crowds = {things[one.id] for one in objects if one.iscrowd}
        return Panoptic.from_ids(np.where(upper > 0, upper, lower), category_of, crowds=crowds)


def _both(sample: Sample) -> tuple[Sample, Sample]:
    assert isinstance(sample, MergedSample), "a sample of another source"
    assert sample.below is not None
    assert sample.above is not None
    return sample.below, sample.above
