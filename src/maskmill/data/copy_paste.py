"""Copy-paste: things of one image put onto another, with all that follows for its labels."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import Categories
from maskmill.canonical.panoptic import VOID_ID
from maskmill.data.mixing import View, collage, present


class CopyPaste:
    """Some things of a partner's view, at their places, onto the sample's own (Ghiasi et al., CVPR 2021, arXiv:2012.07177, sec. 3).

    Both views are augmented before, by large-scale jitter in the paper. Pasted things lie on top, get ids of their own, and are their
    pixels exactly: edges are not blended, which the paper found not to matter. Stuff and things below lose what is covered. A thing of
    which less than `min_visible` is left becomes a crowd, which neither teaches nor costs: what is left still shows it, but too little
    to be told. Crowds, which have no outline of their own, and stuff are never pasted.

    Args:
        p: probability of being applied; the paper always does.
        max_things: most things pasted at once.
        min_visible: share of a thing's pixels that must stay in sight.

    Raises:
        ValueError: a number is out of range.
    """

    num_partners = 1

    def __init__(self, *, p: float = 1.0, max_things: int = 20, min_visible: float = 0.1) -> None:
        if not (0 <= p <= 1 and max_things >= 1 and 0 <= min_visible <= 1):
            raise ValueError(
                f"Expected `p` and `min_visible` in 0..1 and `max_things` of at least 1, but got {p}, {min_visible} and {max_things} - "
                "mend conf/augment"
            )
        self.p, self.max_things, self.min_visible = p, max_things, min_visible

    def __call__(
        self, views: Sequence[View], categories: Categories, random: np.random.Generator
    ) -> View:
        """A random number of the second view's things on the first view.

        Raises:
            ValueError: the data set has no things.
        """
        if not categories.isthing.any():
            raise ValueError(
                "Expected a data set with things to paste, but it has only stuff - choose augment=mosaic or another"
            )
        below, above = views
        things = [
            segment
            for segment in present(above.ids)
            if segment not in above.crowds and categories[above.category(segment)].isthing
        ]
        if not things:
            return below
        count = random.integers(1, min(len(things), self.max_things) + 1)
        pasted = np.isin(above.ids, random.choice(things, size=count, replace=False))
        result = collage(views, pasted.astype(np.uint8), categories)
        return View(
            result.image,
            result.ids,
            result.category_of,
            result.crowds | self._hidden(below, result, pasted, categories),
        )

    def _hidden(
        self, below: View, result: View, pasted: npt.NDArray[np.bool_], categories: Categories
    ) -> set[int]:
        """Ids, in the result, of the things below of which too little is left."""
        hidden = set()
        for segment in present(
            np.where(pasted, below.ids, VOID_ID)
        ):  # only where something was pasted on
            if not categories[below.category(segment)].isthing:
                continue
            whole = below.ids == segment
            left = whole & ~pasted
            if 0 < np.count_nonzero(left) < self.min_visible * np.count_nonzero(whole):
                hidden.add(int(result.ids[left][0]))
        return hidden
