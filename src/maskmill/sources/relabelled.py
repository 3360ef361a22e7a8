"""A source with other classes: renamed, merged or dropped, by configuration."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from maskmill.canonical.categories import Categories, Category
from maskmill.canonical.panoptic import VOID_ID, Panoptic
from maskmill.canonical.runs import relabel
from maskmill.sources.finding import Findings
from maskmill.sources.source import Sample, Source


class Relabelled(Source):
    """Another source seen through a table of classes.

    Args:
        source: any.
        classes: a class's name or id -> its new name, or None to make its pixels void. Classes given the same name become one (with the
            id and colour of the first, or of the class that has the name already); those not named stay as they are.

    Raises:
        ValueError: a class is unknown, a name would stand for things and stuff, or no class is left.
    """

    def __init__(self, source: Source, classes: Mapping[str, str | None]) -> None:
        self.source, self.classes = source, {str(key): value for key, value in classes.items()}

    @property
    def categories(self) -> Categories:
        """The new table."""
        return self._tables[0]

    @cached_property
    def _tables(self) -> tuple[Categories, dict[int, int]]:
        """The new table, and old category id -> new one; dropped ones are missing."""
        old = self.source.categories
        by_key = {str(one.id): one for one in old} | {
            one.name: one for one in old
        }  # a name that is a number wins over the id
        unknown = sorted(self.classes.keys() - by_key.keys())
        if unknown:
            names = ", ".join(one.name for one in old)
            raise ValueError(
                f"Expected `prepare.classes` to name classes of the source, but got {unknown} - choose of {names}"
            )
        renamed = {by_key[key].id: name for key, name in self.classes.items()}
        members: dict[str, list[Category]] = {}
        for one in old:
            name = renamed.get(one.id, one.name)
            if name is not None:
                members.setdefault(name, []).append(one)
        table: list[Category] = []
        new_id: dict[int, int] = {}
        for name, group in members.items():
            if len({one.isthing for one in group}) > 1:
                found = ", ".join(
                    f"{one.name} ({'thing' if one.isthing else 'stuff'})" for one in group
                )
                raise ValueError(
                    f"Expected only things or only stuff to become {name!r}, but got {found} - mend `prepare.classes`"
                )
            head = next((one for one in group if one.name == name), group[0])
            table.append(replace(head, name=name))
            new_id |= {one.id: head.id for one in group}
        if not table:
            raise ValueError(
                "Expected at least one class to stay, but `prepare.classes` drops them all - keep one"
            )
        return Categories(table), new_id

    def samples(self, findings: Findings) -> list[Sample]:
        """Those of the source."""
        return self.source.samples(findings)

    def files(self, sample: Sample) -> tuple[Path, ...]:
        """Those of the source."""
        return self.source.files(sample)

    def read(self, sample: Sample, findings: Findings) -> Panoptic:
        """Things keep their segments, stuff segments of one new class become one; see `Source.read`."""
        panoptic = self.source.read(sample, findings)
        table, new_id = self._tables
        kept = [one for one in panoptic.segments if one.category_id in new_id]
        first: dict[int, int] = {}
        target = {}
        for one in kept:
            category_id = new_id[one.category_id]
            isthing = table[category_id].isthing
            target[one.id] = one.id if isthing else first.setdefault(category_id, one.id)
        category_of = {target[one.id]: new_id[one.category_id] for one in kept}
        return Panoptic.from_ids(
            relabel(panoptic.ids, target, default=VOID_ID),
            category_of,
            crowds=panoptic.crowds & set(target),
        )
