"""Copy-paste: things of one image pasted onto another, with the labels updated."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Interval

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import VOID_ID
from maskmill.data.mixing import View, collage, present


class CopyPaste:
    """Paste some things of another sample's view onto a sample's view, at the same position.

    Both views are augmented first, by large-scale jitter in the paper. A pasted thing covers what
    is below it and gets a new id. Its edges are not blended; the paper found no benefit in that.
    A covered thing with less than `min_visible` of its pixels left becomes a crowd, which training
    ignores, since too little of it is left to recognise it. Stuff and crowds are never pasted.
    Ghiasi et al., CVPR 2021 (arXiv:2012.07177), sec. 3.

    Args:
        p: probability of being applied; 1 in the paper.
        max_things: largest number of things that are pasted.
        min_visible: fraction of a thing's pixels that must stay visible.
    """

    num_partners = 1

    def __init__(
        self,
        *,
        p: Annotated[float, Interval(ge=0, le=1)] = 1.0,
        max_things: Annotated[int, Ge(1)] = 20,
        min_visible: Annotated[float, Interval(ge=0, le=1)] = 0.1,
    ) -> None:
        self.p = p
        self.max_things = max_things
        self.min_visible = min_visible

    def __call__(
        self, views: Sequence[View], categories: Categories, random: np.random.Generator
    ) -> View:
        """The first view with a random number of the second view's things pasted onto it.

        Raises:
            ValueError: the data set has no things.
        """
        if not categories.isthing.any():
            raise ValueError(
                "Expected a data set with things to paste, but it has only stuff - "
                "choose another augment, such as augment=mosaic"
            )
        below, above = views
        things = _things(above, categories)
        if not things:
            return below
        num_pasted = random.integers(1, min(len(things), self.max_things) + 1)
        pasted_ids = random.choice(things, size=num_pasted, replace=False)
        is_pasted = np.isin(above.ids, pasted_ids)
        result = collage(views, is_pasted.astype(np.uint8), categories)
        hidden = self._hidden(below, result, is_pasted, categories)
        return View(result.image, result.ids, result.category_of, result.crowds | hidden)

    def _hidden(
        self,
        below: View,
        result: View,
        is_pasted: npt.NDArray[np.bool_],
        categories: Categories,
    ) -> set[int]:
        """Ids, in the result, of the things below that are mostly covered."""
        hidden = set()
        covered_ids = np.where(is_pasted, below.ids, VOID_ID)
        for segment_id in present(covered_ids):
            if not categories[below.category(segment_id)].isthing:
                continue
            whole = below.ids == segment_id
            visible = whole & ~is_pasted
            num_visible = np.count_nonzero(visible)
            if 0 < num_visible < self.min_visible * np.count_nonzero(whole):
                hidden.add(int(result.ids[visible][0]))
        return hidden


def _things(view: View, categories: Categories) -> list[int]:
    """Ids of the things of a view, without crowds."""
    things = []
    for segment_id in present(view.ids):
        if segment_id not in view.crowds and categories[view.category(segment_id)].isthing:
            things.append(segment_id)
    return things
