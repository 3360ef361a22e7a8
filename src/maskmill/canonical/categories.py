"""The category table: which classes a data set has, and which of them are countable things."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

IGNORE_INDEX = 255  # uint8 semantic targets: never a class, since a table holds at most 254 of them and a background
MAX_CATEGORIES = 254


@dataclass(frozen=True)
class Category:
    """One class: `id` is the data set's own number, `isthing` tells countable objects from stuff."""

    id: int
    name: str
    isthing: bool
    color: tuple[int, int, int]

    def as_dict(self) -> dict[str, Any]:
        """The COCO form."""
        return {
            "id": self.id,
            "name": self.name,
            "isthing": int(self.isthing),
            "color": list(self.color),
        }


class Categories:
    """An ordered table of categories; a class index 0..K-1 is a place in this order.

    A table without any stuff describes objects on an unlabelled background: pixels of no object are then a class of their own
    to the network (`background_index`), since a detector that is never shown "nothing here" cannot learn it.

    Raises:
        ValueError: the table is empty, too long, or holds an id or name twice or a negative id.
    """

    def __init__(self, categories: Iterable[Category]) -> None:
        self._categories = tuple(categories)
        ids = [category.id for category in self]
        names = [category.name for category in self]
        if not 1 <= len(ids) <= MAX_CATEGORIES:
            raise ValueError(
                f"Expected 1 to {MAX_CATEGORIES} categories, but got {len(ids)} - merge or drop classes in the source"
            )
        for kind, values in (("id", [str(key) for key in ids]), ("name", names)):
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                raise ValueError(
                    f"Expected each category {kind} once, but found twice: {', '.join(twice)} - rename or merge them"
                )
        if min(ids) < 0:
            raise ValueError(
                f"Expected category ids of 0 and above, but got {min(ids)} - renumber the category table"
            )

    def __iter__(self) -> Iterator[Category]:
        return iter(self._categories)

    def __len__(self) -> int:
        return len(self._categories)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Categories) and self._categories == other._categories

    def __hash__(self) -> int:
        return hash(self._categories)

    def __getitem__(self, category_id: int) -> Category:
        """The category with this id (not: at this place)."""
        return self._categories[self.index[category_id]]

    def __contains__(self, category_id: int) -> bool:
        return category_id in self.index

    @cached_property
    def index(self) -> dict[int, int]:
        """Category id -> class index 0..K-1."""
        return {category.id: place for place, category in enumerate(self)}

    @cached_property
    def ids(self) -> npt.NDArray[np.int32]:
        """Class index -> category id, (K,) int32."""
        return np.array([category.id for category in self], dtype=np.int32)

    @cached_property
    def isthing(self) -> npt.NDArray[np.bool_]:
        """Class index -> is it a thing, (K,) bool."""
        return np.array([category.isthing for category in self], dtype=bool)

    @property
    def num_classes(self) -> int:
        """K, the number of categories."""
        return len(self)

    @property
    def background_index(self) -> int | None:
        """K where every category is a thing, else None: then unlabelled pixels are void and teach nothing."""
        return len(self) if bool(self.isthing.all()) else None

    @property
    def num_outputs(self) -> int:
        """Channels a semantic head needs: K, and one more where there is a background."""
        return len(self) + (self.background_index is not None)

    def as_list(self) -> list[dict[str, Any]]:
        """The COCO form, as in the `categories` of a panoptic JSON file."""
        return [category.as_dict() for category in self]

    @classmethod
    def from_list(cls, rows: Iterable[dict[str, Any]]) -> "Categories":
        """Read the COCO form; a missing `isthing` means stuff, a missing `color` gets one from `color_of`.

        Raises:
            ValueError: a row lacks `id` or `name`, or the table is not valid.
        """
        categories = []
        for place, row in enumerate(rows):
            missing = {"id", "name"} - row.keys()
            if missing:
                raise ValueError(
                    f"Expected `id` and `name` in every category, but row {place} ({row}) lacks {sorted(missing)}"
                )
            red, green, blue = row.get("color") or color_of(place)
            color = (int(red), int(green), int(blue))
            categories.append(
                Category(int(row["id"]), str(row["name"]), bool(row.get("isthing", 0)), color)
            )
        return cls(categories)


def color_of(place: int) -> tuple[int, int, int]:
    """A colour for the category at `place`, each far from its predecessors: the bit-reversal colour map of PASCAL VOC."""
    place += 1  # 0 would be black, which void wears
    channels = [0, 0, 0]
    for bit in range(7, -1, -1):
        for channel in range(3):
            channels[channel] |= ((place >> channel) & 1) << bit
        place >>= 3
    return channels[0], channels[1], channels[2]
