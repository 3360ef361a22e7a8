"""Samples made of several images of a split: mosaic, and what every such mixture obeys; copy-paste is in `data.copy_paste`.

There is no mixup: a mean of two images has no one class at a pixel and no one id, so its labels would be false.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import VOID_ID
from maskmill.canonical.png import RGB
from maskmill.canonical.runs import relabel, run_starts

Seed = tuple[int, ...]
PARTNERS = 1_000_003  # ends the seed that draws partners, apart from those of the views


@dataclass(frozen=True, eq=False)
class View:
    """An augmented image and its segments.

    Args:
        image: (H, W, 3) uint8 RGB.
        ids: (H, W) int32 segment ids, 0 = void.
        category_of: segment id -> category id; may name segments the view no longer shows.
        crowds: ids of the segments that stand for a group.
        name: says in errors which.
    """

    image: RGB
    ids: npt.NDArray[np.int32]
    category_of: Mapping[int, int]
    crowds: frozenset[int] = frozenset()
    name: str = ""

    def category(self, segment: int) -> int:
        """The category id of a segment of the map.

        Raises:
            ValueError: the labels do not have it.
        """
        if segment not in self.category_of:
            raise ValueError(
                f"{self.name}: expected every id of the map among the segments, but {segment} is not - prepare the data again"
            )
        return self.category_of[segment]


@runtime_checkable  # configured values are held against it
class Mix(Protocol):
    """Makes one view of several; `p` is how often, `num_partners` how many others it takes."""

    p: float
    num_partners: int

    def __call__(
        self, views: Sequence[View], categories: Categories, random: np.random.Generator
    ) -> View:
        """The mixture of the sample's own view, first, and its partners'."""


def mixed(
    mix: Mix,
    view_of: Callable[[int, Seed], View],
    num_samples: int,
    seed: Seed,
    categories: Categories,
) -> View:
    """The view of a sample, mixed with those of partners drawn from the whole split.

    Args:
        mix: what makes one of them.
        view_of: gives the augmented view of a sample for a seed.
        num_samples: in the split.
        seed: what names this draw, ending with the sample's index: partners and their augmentation depend on it and on nothing else.
        categories: the data set's table.

    Returns:
        the mixture; the sample's own view as often as `p` leaves it alone.
    """
    random = np.random.default_rng([*seed, PARTNERS])
    own = view_of(seed[-1], seed)
    if random.random() >= mix.p:
        return own
    partners = random.integers(num_samples, size=mix.num_partners).tolist()
    return mix(
        [own, *(view_of(partner, (*seed, place)) for place, partner in enumerate(partners))],
        categories,
        random,
    )


class Mosaic:
    """Four views meet at a point: each pixel, with its label, is that of one of them at the same place.

    Bochkovskiy et al., YOLOv4 (arXiv:2004.10934), sec. 3.3. Nothing is resized, so objects keep their size and their place in the picture.
    Stuff of one class is one segment, whichever view it is of.

    Args:
        p: probability of being applied.
        center: between which shares of height and width the point lies.

    Raises:
        ValueError: a number is out of range.
    """

    num_partners = 3

    def __init__(self, *, p: float = 0.5, center: tuple[float, float] = (0.3, 0.7)) -> None:
        if not (0 <= p <= 1 and 0 <= center[0] <= center[1] <= 1):
            raise ValueError(
                f"Expected `p` in 0..1 and `center` as two rising shares, but got {p} and {tuple(center)} - mend conf/augment"
            )
        self.p, self.center = p, center

    def __call__(
        self, views: Sequence[View], categories: Categories, random: np.random.Generator
    ) -> View:
        """The sample's own view at the top left, its partners' in the other quarters."""
        height, width = views[0].ids.shape
        y, x = (round(length * random.uniform(*self.center)) for length in (height, width))
        owner = np.zeros((height, width), np.uint8)
        owner[:y, x:], owner[y:, :x], owner[y:, x:] = 1, 2, 3
        return collage(views, owner, categories)


def collage(views: Sequence[View], owner: npt.NDArray[np.uint8], categories: Categories) -> View:
    """Pixels and labels of several views in one; things stay apart and get new ids, stuff of one class becomes one segment.

    Args:
        views: of one size.
        owner: (H, W), the place in `views` each pixel comes from.
        categories: the data set's table.

    Returns:
        the view, its segments numbered from 1: those of the first view first.

    Raises:
        ValueError: the views differ in size, or one has an id without a segment.
    """
    if len(sizes := {view.ids.shape for view in views}) > 1:
        raise ValueError(
            f"Expected views of one size to mix, but got {sorted(sizes)} - end the transforms with a crop of data.crop_size"
        )
    image, ids = np.empty_like(views[0].image), np.empty_like(views[0].ids)
    category_of: dict[int, int] = {}
    crowds: set[int] = set()
    stuff: dict[int, int] = {}
    for place, view in enumerate(views):
        table = {}
        for segment in present(view.ids):
            category = view.category(segment)
            number = len(category_of) + 1
            table[segment] = (
                number if categories[category].isthing else stuff.setdefault(category, number)
            )
            category_of[table[segment]] = category
            if segment in view.crowds:
                crowds.add(table[segment])
        mine = owner == place
        image[mine], ids[mine] = view.image[mine], relabel(view.ids, table, default=VOID_ID)[mine]
    return View(image, ids, category_of, frozenset(crowds))


def present(ids: npt.NDArray[np.int32]) -> list[int]:
    """The segment ids of a map (H, W), ascending, without void."""
    return [
        value for value in np.unique(ids.reshape(-1)[run_starts(ids)]).tolist() if value != VOID_ID
    ]
