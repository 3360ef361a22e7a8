"""Samples made of several images of a split: mosaic, and what all mixes have in common.

Copy-paste is in `data.copy_paste`. There is no mixup: a pixel of the mean of two images has no
single class or id, so its labels would be wrong.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from annotated_types import Interval

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import VOID_ID
from maskmill.canonical.png import RGB
from maskmill.canonical.runs import relabel, run_starts

Seed = tuple[int, ...]
Fraction = Annotated[float, Interval(ge=0, le=1)]
PARTNERS = 1_000_003  # appended to a seed to draw partners independently of the views


@dataclass(frozen=True, eq=False)
class View:
    """An augmented image and its segments.

    Args:
        image: (H, W, 3) uint8 RGB.
        ids: (H, W) int32 segment ids, 0 = void.
        category_of: segment id -> category id; may contain segments that are no longer visible.
        crowds: ids of the crowd segments.
        name: identifies the image in error messages.
    """

    image: RGB
    ids: npt.NDArray[np.int32]
    category_of: Mapping[int, int]
    crowds: frozenset[int] = frozenset()
    name: str = ""

    def category(self, segment_id: int) -> int:
        """The category id of a segment of the map.

        Raises:
            ValueError: the labels lack the segment.
        """
        if segment_id not in self.category_of:
            raise ValueError(
                f"{self.name}: expected every id of the map in segments_info, "
                f"but {segment_id} is missing - prepare the data again"
            )
        return self.category_of[segment_id]


@runtime_checkable  # `build` checks that a configured object is one
class Mix(Protocol):
    """Combines several views into one.

    p: probability of being applied.
    num_partners: number of other views needed.
    """

    p: float
    num_partners: int

    def __call__(
        self, views: Sequence[View], categories: Categories, random: np.random.Generator
    ) -> View:
        """Combine the sample's own view, which comes first, with those of its partners."""


def mixed(
    mix: Mix,
    view_of: Callable[[int, Seed], View],
    num_samples: int,
    seed: Seed,
    categories: Categories,
) -> View:
    """The view of a sample, combined with those of partners drawn from the whole split.

    Args:
        mix: combines the views.
        view_of: gives the augmented view of a sample for a seed.
        num_samples: number of samples in the split.
        seed: identifies the draw and ends with the index of the sample. Partners and their
            augmentation depend on nothing else.
        categories: the category table.

    Returns:
        the combined view, with probability `mix.p`; otherwise the sample's own view.
    """
    random = np.random.default_rng([*seed, PARTNERS])
    own = view_of(seed[-1], seed)
    if random.random() >= mix.p:
        return own
    views = [own]
    partners = random.integers(num_samples, size=mix.num_partners).tolist()
    for position, partner in enumerate(partners):
        views.append(view_of(partner, (*seed, position)))
    return mix(views, categories, random)


class Mosaic:
    """Four views that meet at a point: each pixel and its label come from one of them.

    Nothing is resized, so objects keep their size and their position in the image. Stuff of one
    class is one segment, whichever views it comes from.
    Bochkovskiy et al., YOLOv4 (arXiv:2004.10934), sec. 3.3.

    Args:
        p: probability of being applied.
        center: smallest and largest position of the point, as a fraction of height and width.

    Raises:
        ValueError: the first fraction of `center` is larger than the second.
    """

    num_partners = 3

    def __init__(
        self, *, p: Fraction = 0.5, center: tuple[Fraction, Fraction] = (0.3, 0.7)
    ) -> None:
        if center[0] > center[1]:
            raise ValueError(
                "Expected `center` to be the smallest and the largest position, "
                f"but got {tuple(center)} - swap them"
            )
        self.p = p
        self.center = center

    def __call__(
        self, views: Sequence[View], categories: Categories, random: np.random.Generator
    ) -> View:
        """The sample's own view at the top left, its partners' views in the other quarters."""
        height, width = views[0].ids.shape
        y = round(height * random.uniform(*self.center))
        x = round(width * random.uniform(*self.center))
        source = np.zeros((height, width), np.uint8)
        source[:y, x:] = 1
        source[y:, :x] = 2
        source[y:, x:] = 3
        return collage(views, source, categories)


def collage(views: Sequence[View], source: npt.NDArray[np.uint8], categories: Categories) -> View:
    """One view made of pixels and labels of several.

    Things of different views stay separate and get new ids. Stuff of one class becomes one segment.

    Args:
        views: views of one size.
        source: (H, W), the index of the view that each pixel comes from.
        categories: the category table.

    Returns:
        the view, with segment ids from 1, those of the first view first.

    Raises:
        ValueError: the views differ in size, or an id of a map has no segment.
    """
    _check_sizes(views)
    image = np.empty_like(views[0].image)
    ids = np.empty_like(views[0].ids)
    category_of: dict[int, int] = {}
    crowds: set[int] = set()
    stuff: dict[int, int] = {}  # category id -> new segment id
    for index, view in enumerate(views):
        new_id_of = {}
        for segment_id in present(view.ids):
            category_id = view.category(segment_id)
            new_id = len(category_of) + 1
            if not categories[category_id].isthing:
                new_id = stuff.setdefault(category_id, new_id)
            new_id_of[segment_id] = new_id
            category_of[new_id] = category_id
            if segment_id in view.crowds:
                crowds.add(new_id)
        is_source = source == index
        image[is_source] = view.image[is_source]
        ids[is_source] = relabel(view.ids, new_id_of, default=VOID_ID)[is_source]
    return View(image, ids, category_of, frozenset(crowds))


def _check_sizes(views: Sequence[View]) -> None:
    sizes = {view.ids.shape for view in views}
    if len(sizes) > 1:
        raise ValueError(
            f"Expected views of one size to mix, but got {sorted(sizes)} - "
            "end the transforms with a crop of data.crop_size"
        )


def present(ids: npt.NDArray[np.int32]) -> list[int]:
    """The segment ids of a map (H, W) in ascending order, without void."""
    values = np.unique(ids.reshape(-1)[run_starts(ids)])
    return [value for value in values.tolist() if value != VOID_ID]
