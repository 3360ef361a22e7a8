"""A source with other classes: renamed, merged or removed by configuration."""

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
    """Another source with a new table of classes.

    Args:
        source: any source.
        classes: a class's name or id -> its new name, or None to make its pixels void. Classes with
            the same new name become one, with the id and colour of the class that has this name
            already, or else of the first one. Classes that are not listed stay as they are.

    Raises:
        ValueError: a class is unknown, a new name is for both things and stuff, or no class is
            left. Raised by `categories`.
    """

    def __init__(self, source: Source, classes: Mapping[str, str | None]) -> None:
        self.source = source
        self.classes = {str(key): name for key, name in classes.items()}

    @property
    def categories(self) -> Categories:
        """The new table."""
        return self._tables[0]

    @cached_property
    def _tables(self) -> tuple[Categories, dict[int, int]]:
        """The new table, and old category id -> new one, without removed classes."""
        table: list[Category] = []
        new_id: dict[int, int] = {}
        for name, members in self._members().items():
            if len({category.isthing for category in members}) > 1:
                found = [_with_kind(category) for category in members]
                raise ValueError(
                    f"Expected either only things or only stuff to become {name!r}, but got "
                    f"{', '.join(found)} - check `prepare.classes`"
                )
            head = members[0]
            for category in reversed(members):
                if category.name == name:
                    head = category
            table.append(replace(head, name=name))
            for category in members:
                new_id[category.id] = head.id
        if not table:
            raise ValueError(
                "Expected at least one class to stay, but `prepare.classes` removes them all - "
                "keep one"
            )
        return Categories(table), new_id

    def _members(self) -> dict[str, list[Category]]:
        """New name -> the classes that get it, in the order of the old table."""
        old = self.source.categories
        by_key = {str(category.id): category for category in old}
        for category in old:
            by_key[category.name] = category  # a name that is a number takes precedence over an id
        unknown = self.classes.keys() - by_key.keys()
        if unknown:
            names = ", ".join(category.name for category in old)
            raise ValueError(
                "Expected `prepare.classes` to contain classes of the source, but got "
                f"{sorted(unknown)} - choose from {names}"
            )
        renamed = {by_key[key].id: name for key, name in self.classes.items()}
        members: dict[str, list[Category]] = {}
        for category in old:
            name = renamed.get(category.id, category.name)
            if name is not None:
                members.setdefault(name, []).append(category)
        return members

    def samples(self, findings: Findings) -> list[Sample]:
        """The samples of the source."""
        return self.source.samples(findings)

    def files(self, sample: Sample) -> tuple[Path, ...]:
        """The files of the source."""
        return self.source.files(sample)

    def read(self, sample: Sample, findings: Findings) -> Panoptic:
        """Things keep their segments; stuff of one new class becomes one; see `Source.read`."""
        panoptic = self.source.read(sample, findings)
        table, new_category_id = self._tables
        category_of = {}
        new_segment_id = {}
        stuff_id: dict[int, int] = {}
        for segment in panoptic.segments:
            if segment.category_id not in new_category_id:
                continue
            category_id = new_category_id[segment.category_id]
            segment_id = segment.id
            if not table[category_id].isthing:
                segment_id = stuff_id.setdefault(category_id, segment.id)
            new_segment_id[segment.id] = segment_id
            category_of[segment_id] = category_id
        ids = relabel(panoptic.ids, new_segment_id, default=VOID_ID)
        crowds = panoptic.crowds & new_segment_id.keys()
        return Panoptic.from_ids(ids, category_of, crowds=crowds)


def _with_kind(category: Category) -> str:
    return f"{category.name} ({'thing' if category.isthing else 'stuff'})"
