"""Hypothesis strategies for id maps and panoptic labels."""

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from maskmill.canonical.categories import Categories, Category
from maskmill.canonical.panoptic import MAX_ID, Panoptic

# Two stuff and two thing classes with unordered ids, so that an id used as an index is noticed.
CATEGORIES = Categories(
    [
        Category(7, "ground", False, (0, 90, 0)),
        Category(0, "sky", False, (90, 180, 250)),
        Category(21, "ball", True, (200, 0, 0)),
        Category(3, "box", True, (200, 200, 0)),
    ]
)

sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))


@st.composite
def id_maps(draw, sizes=sizes, max_segments=5, void=True):
    """(H, W) int32: a few ids of the whole range, so that segments have several pixels."""
    shape = draw(sizes)
    ids = draw(st.lists(st.integers(1, MAX_ID), min_size=1, max_size=max_segments, unique=True))
    choices = np.array([0, *ids] if void else ids, dtype=np.int32)
    return choices[draw(npst.arrays(np.int64, shape, elements=st.integers(0, len(choices) - 1)))]


@st.composite
def panoptics(draw, sizes=sizes, categories=CATEGORIES, void=True):
    """Labels of one image, with at most one segment per stuff class, as in COCO."""
    ids = draw(id_maps(sizes=sizes, void=void))
    stuff_left = [category.id for category in categories if not category.isthing]
    things = [category.id for category in categories if category.isthing]
    category_of = {}
    for value in np.unique(ids[ids > 0]).tolist():
        category_of[value] = draw(st.sampled_from(stuff_left + things))
        if category_of[value] in stuff_left:
            stuff_left.remove(category_of[value])
    return Panoptic.from_ids(ids, category_of)


@st.composite
def panoptic_pairs(draw, categories=CATEGORIES, crowds=True):
    """A prediction and a target of one size.

    The target has at most one crowd per category, as in COCO.
    """
    shape = st.just(draw(sizes))
    pred = draw(panoptics(sizes=shape, categories=categories))
    target = draw(panoptics(sizes=shape, categories=categories))
    if draw(st.booleans()):  # mostly correct, so that there are matches
        errors = draw(id_maps(sizes=shape, max_segments=2))
        ids = np.where(errors == errors.min(), target.ids, pred.ids)
        pred = Panoptic.from_ids(ids, target.category_of | pred.category_of)
    with_crowd = set()
    segments = []
    for segment in target.segments:
        thing = categories[segment.category_id].isthing
        can_be_crowd = crowds and thing and segment.category_id not in with_crowd
        iscrowd = can_be_crowd and draw(st.integers(0, 2)) == 0
        if iscrowd:
            with_crowd.add(segment.category_id)
        segments.append(replace(segment, iscrowd=iscrowd))
    return pred, Panoptic(target.ids, tuple(segments))
