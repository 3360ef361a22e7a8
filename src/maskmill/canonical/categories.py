"""The category table: which classes a data set has, and which of them are countable things."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from maskmill.canonical.schema import (
    CATEGORY_TABLE,
    PREDICTED_TABLE,
    require_distinct,
    require_schema,
)

# A table has at most 254 classes and a background, so 255 is never a class of a uint8 target.
IGNORE_INDEX = 255
MAX_CATEGORIES = 254


@dataclass(frozen=True)
class Category:
    """One class: `id` is the data set's own id, `isthing` separates countable objects from stuff.

    Example:
        >>> Category(7, "car", isthing=True, color=(0, 0, 142)).as_dict()
        {'id': 7, 'name': 'car', 'isthing': 1, 'color': [0, 0, 142]}
    """

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
    """An ordered table of categories; the class index 0..K-1 of a category is its position.

    A table without stuff describes objects on an unlabelled background. The network then gets a
    class for pixels of no object (`background_index`), since a detector that never sees negative
    examples cannot learn them.

    Raises:
        ValueError: the table is empty or too long, an id is negative, or an id or name is repeated.

    Example:
        >>> categories = Categories.from_list(
        ...     [{"id": 7, "name": "road"}, {"id": 26, "name": "car", "isthing": 1}]
        ... )
        >>> categories[26].name
        'car'
        >>> categories.index
        {7: 0, 26: 1}
        >>> categories.num_classes, categories.background_index
        (2, None)
    """

    def __init__(self, categories: Iterable[Category]) -> None:
        self._categories = tuple(categories)
        ids = [category.id for category in self]
        if not 1 <= len(ids) <= MAX_CATEGORIES:
            raise ValueError(
                f"Expected 1 to {MAX_CATEGORIES} categories, but got {len(ids)} - "
                "merge or drop classes in the source"
            )
        _require_unique("id", [str(category_id) for category_id in ids])
        _require_unique("name", [category.name for category in self])
        if min(ids) < 0:
            raise ValueError(
                f"Expected category ids of 0 and above, but got {min(ids)} - "
                "renumber the category table"
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
        """The category with this id (not: at this position)."""
        return self._categories[self.index[category_id]]

    def __contains__(self, category_id: int) -> bool:
        return category_id in self.index

    @cached_property
    def index(self) -> dict[int, int]:
        """Category id -> class index 0..K-1."""
        return {category.id: index for index, category in enumerate(self)}

    @cached_property
    def ids(self) -> npt.NDArray[np.int32]:
        """Class index -> category id, (K,) int32."""
        return np.array([category.id for category in self], dtype=np.int32)

    @cached_property
    def isthing(self) -> npt.NDArray[np.bool_]:
        """Class index -> whether it is a thing, (K,) bool."""
        return np.array([category.isthing for category in self], dtype=bool)

    @property
    def num_classes(self) -> int:
        """K, the number of categories."""
        return len(self)

    @property
    def background_index(self) -> int | None:
        """K if every category is a thing, else None: unlabelled pixels are then void."""
        return len(self) if bool(self.isthing.all()) else None

    @property
    def num_outputs(self) -> int:
        """Number of channels of a semantic head: K, plus one if there is a background."""
        return len(self) + (self.background_index is not None)

    def as_list(self) -> list[dict[str, Any]]:
        """The COCO form, as in the `categories` of a panoptic JSON file."""
        return [category.as_dict() for category in self]

    @classmethod
    def from_list(cls, rows: Iterable[dict[str, Any]], where: object = None) -> "Categories":
        """Read the COCO form; `isthing` defaults to stuff, `color` to that of `color_of`.

        Args:
            rows: a mapping per category.
            where: the file that contains them, for messages; None: the caller names it.

        Raises:
            ValueError: a row lacks `id` or `name`, has a value of another type, or the table is
                not valid.
        """
        table = list(rows) if isinstance(rows, Iterable) else rows
        require_schema(CATEGORY_TABLE, table, where or "category table", name="categories")
        categories = []
        for index, row in enumerate(table):
            red, green, blue = row.get("color") or color_of(index)
            isthing = bool(row.get("isthing", 0))
            categories.append(Category(row["id"], row["name"], isthing, (red, green, blue)))
        try:
            return cls(categories)
        except ValueError as error:
            raise ValueError(f"{where}: {error}" if where else str(error)) from error

    def require_known(self, category_ids: Iterable[int]) -> None:
        """Refuse ids of categories that the table lacks.

        Raises:
            ValueError: an id is not in the table.
        """
        unknown = sorted(set(category_ids) - self.index.keys())
        if unknown:
            raise ValueError(
                f"Expected category ids of the table, but got {unknown[:5]} - "
                "either correct the segments or add the categories"
            )

    def require_same(self, rows: list[dict[str, Any]], where: object) -> None:
        """Refuse predictions whose category table gives an id another name or kind.

        Rows may lack `name` or `isthing`, which are then not compared, and categories of this
        table may be absent.

        Args:
            rows: the table of the predictions in the COCO form.
            where: their file, for the message.

        Raises:
            ValueError: an id is not in this table or occurs twice, a name or kind differs, or a
                value has another type.
        """
        require_schema(PREDICTED_TABLE, rows, where, name="categories")
        require_distinct(rows, "id", f"{where}: categories")
        differences = []
        for row in rows:
            difference = self._difference(row)
            if difference is not None:
                differences.append(difference)
        if differences:
            others = f" and {len(differences) - 5} more" if len(differences) > 5 else ""
            raise ValueError(
                f"{where}: expected the categories of the ground truth, but got "
                f"{', '.join(differences[:5])}{others} - either correct the table or remove "
                "`categories` from the file if its ids are those of the ground truth"
            )

    def _difference(self, row: Mapping[str, Any]) -> str | None:
        """How a predicted category differs from that with its id; None if it does not."""
        if row["id"] not in self:
            return f"id {row['id']} ({row.get('name', 'no name')!r}), which is not among them"
        category = self[row["id"]]
        name = row.get("name", category.name)
        isthing = bool(row.get("isthing", category.isthing))
        if (name, isthing) == (category.name, category.isthing):
            return None
        expected = f"{category.name!r} ({_kind(category.isthing)})"
        return f"id {category.id} {name!r} ({_kind(isthing)}) instead of {expected}"


def _kind(isthing: bool) -> str:
    return "thing" if isthing else "stuff"


def _require_unique(kind: str, values: Sequence[str]) -> None:
    counts = Counter(values)
    repeated = sorted(value for value, count in counts.items() if count > 1)
    if repeated:
        raise ValueError(
            f"Expected each category {kind} once, but got several times: {', '.join(repeated)} - "
            "either rename or merge these categories"
        )


def color_of(index: int) -> tuple[int, int, int]:
    """A colour for the category at `index`, far from those before: PASCAL VOC's colour map.

    It distributes the bits of the number over the three channels, the lowest bits first.

    Example:
        >>> color_of(0), color_of(1), color_of(2)
        ((128, 0, 0), (0, 128, 0), (128, 128, 0))
    """
    remaining = index + 1  # 0 would give black, the colour of void
    channels = [0, 0, 0]
    for bit in range(7, -1, -1):
        for channel in range(3):
            channels[channel] |= ((remaining >> channel) & 1) << bit
        remaining >>= 3
    return channels[0], channels[1], channels[2]
