import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from drawn_folders import BALL, BOX, GROUND, SKY
from maskmill.canonical.categories import IGNORE_INDEX
from maskmill.canonical.panoptic import Panoptic
from maskmill.data.copy_paste import CopyPaste
from maskmill.data.mixing import Mosaic, View, collage, mixed
from maskmill.data.targets import UNKNOWN, encode_targets
from strategies import CATEGORIES, panoptics


def view(rows, category_of, value=0, crowds=()):
    ids = np.array(rows, np.int32)
    return View(np.full((*ids.shape, 3), value, np.uint8), ids, category_of, frozenset(crowds))


def measured(made):
    return Panoptic.from_ids(made.ids, made.category_of, crowds=made.crowds)


def random(seed=0):
    return np.random.default_rng(seed)


def test_a_pasted_thing_covers_what_is_below_and_gets_a_new_id():
    below = view([[1, 1, 5, 5, 5, 5]], {1: GROUND, 5: BALL}, 10)
    above = view([[1, 1, 1, 1, 5, 1]], {1: SKY, 5: BALL}, 200)  # the same ids, but other segments
    made = CopyPaste()([below, above], CATEGORIES, random())
    assert [(s.category_id, s.area) for s in measured(made).segments] == [
        (GROUND, 2),
        (BALL, 3),
        (BALL, 1),
    ]
    assert made.ids.tolist() == [[1, 1, 2, 2, 4, 2]]  # 3 is the sky above, which is not pasted
    assert made.image[0, :, 0].tolist() == [10, 10, 10, 10, 200, 10]


def test_neither_stuff_nor_crowds_are_pasted():
    below = view([[1, 1, 1]], {1: GROUND})
    above = view([[1, 2, 2]], {1: SKY, 2: BALL}, 99, crowds=[2])
    made = CopyPaste()([below, above], CATEGORIES, random())
    assert not made.image.any()
    assert measured(made).category_of == {1: GROUND}


@pytest.mark.parametrize(("min_visible", "ignored"), [(0.25, False), (0.3, True)])
def test_a_mostly_covered_thing_is_ignored(min_visible, ignored):
    below = view([[7, 7, 7, 7, 1]], {7: BOX, 1: GROUND})
    above = view([[0, 9, 9, 9, 0]], {9: BALL})  # a quarter of the box stays visible
    made = CopyPaste(min_visible=min_visible)([below, above], CATEGORIES, random())
    semantic, instance = encode_targets(measured(made), CATEGORIES)
    assert (semantic[0, 0] == IGNORE_INDEX) == ignored
    assert (instance[0, 0] == UNKNOWN) == ignored
    assert (semantic[0, 1:] != IGNORE_INDEX).all()
    assert (instance[0, 1:4] > 0).all()


def test_a_completely_covered_thing_is_removed():
    below = view([[7, 7, 1]], {7: BOX, 1: GROUND})
    above = view([[9, 9, 0]], {9: BALL})
    segments = measured(CopyPaste()([below, above], CATEGORIES, random())).segments
    assert [s.category_id for s in segments if s.area] == [GROUND, BALL]


def test_at_most_max_things_are_pasted():
    below = view([[1] * 9], {1: GROUND})
    above = view([list(range(1, 10))], dict.fromkeys(range(1, 10), BALL))
    paste = CopyPaste(max_things=3)
    counts = set()
    for seed in range(40):
        made = paste([below, above], CATEGORIES, random(seed))
        counts.add(len(measured(made).segments) - 1)
    assert counts == {1, 2, 3}


def test_a_partner_without_things_changes_nothing():
    below = view([[1, 5]], {1: GROUND, 5: BALL})
    assert CopyPaste()([below, view([[1, 1]], {1: SKY})], CATEGORIES, random()) is below


def assert_stuff_is_one_segment_per_class(made):
    category_ids = [segment.category_id for segment in measured(made).segments]
    stuff = [category_id for category_id in category_ids if not CATEGORIES[category_id].isthing]
    assert len(stuff) == len(set(stuff))


shapes = st.shared(st.tuples(st.integers(1, 8), st.integers(1, 8)), key="shape")
labels = panoptics(sizes=shapes)


def viewed(panoptic, seed):
    image = np.random.default_rng(seed).integers(0, 255, (*panoptic.size, 3), np.uint8)
    return View(image, panoptic.ids, panoptic.category_of, panoptic.crowds)


@pytest.mark.slow
@given(labels, labels, st.integers(0, 99))
@hypothesis_settings(deadline=None)
def test_after_pasting_each_pixel_has_the_image_and_label_of_one_source(one, other, seed):
    below, above = viewed(one, seed), viewed(other, seed + 1)
    made = CopyPaste()([below, above], CATEGORIES, random(seed))
    pasted = (made.image == above.image).all(axis=2) & ~(made.image == below.image).all(axis=2)
    assert set(np.unique(made.ids)) - {0} <= made.category_of.keys()
    classes = measured(made).category_map()
    # Each pixel has the image and the class of one source, and pasted things are complete.
    assert (made.image[pasted] == above.image[pasted]).all()
    assert (made.image[~pasted] == below.image[~pasted]).all()
    assert (classes[pasted] == other.category_map()[pasted]).all()
    assert (classes[~pasted] == one.category_map()[~pasted]).all()
    for segment_id in np.unique(made.ids[pasted]).tolist():
        source = other.ids == other.ids[pasted & (made.ids == segment_id)][0]
        looks_like_below = (made.image == below.image).all(axis=2) & source
        assert CATEGORIES[made.category_of[segment_id]].isthing
        np.testing.assert_array_equal((made.ids == segment_id) | looks_like_below, source)
    assert_stuff_is_one_segment_per_class(made)


@pytest.mark.slow
@given(st.tuples(labels, labels, labels, labels), st.integers(0, 99))
@hypothesis_settings(deadline=None)
def test_a_mosaic_takes_each_pixel_and_its_label_from_one_view(four, seed):
    views = [viewed(panoptic, seed + index) for index, panoptic in enumerate(four)]
    made = Mosaic()(views, CATEGORIES, random(seed))
    classes = measured(made).category_map()
    matches = np.zeros(classes.shape, bool)
    for source, panoptic in zip(views, four, strict=True):
        same_image = (made.image == source.image).all(axis=2)
        matches |= same_image & (classes == panoptic.category_map())
    assert matches.all()
    assert_stuff_is_one_segment_per_class(made)


def test_a_mosaic_has_the_own_view_at_the_top_left():
    views = [
        view(np.full((10, 10), 1), {1: category}, value)
        for value, category in enumerate([GROUND, BALL, BALL, GROUND])
    ]
    made = Mosaic(center=(0.4, 0.4))(views, CATEGORIES, random())
    assert made.image[[0, 0, 9, 9], [0, 9, 0, 9], 0].tolist() == [0, 1, 2, 3]
    assert [(s.category_id, s.area) for s in measured(made).segments] == [
        (GROUND, 16 + 36),
        (BALL, 24),
        (BALL, 24),
    ]


def test_crowds_stay_crowds():
    made = collage(
        [view([[4, 1]], {4: BALL, 1: GROUND}, crowds=[4]), view([[1, 4]], {4: BALL, 1: GROUND})],
        np.array([[0, 1]], np.uint8),
        CATEGORIES,
    )
    assert [(s.category_id, s.iscrowd) for s in measured(made).segments] == [
        (BALL, True),
        (BALL, False),
    ]


def test_views_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match="views of one size to mix, but got"):
        collage(
            [view([[1]], {1: GROUND}), view([[1, 1]], {1: GROUND})],
            np.zeros((1, 1), np.uint8),
            CATEGORIES,
        )


def test_an_id_without_a_segment_is_refused():
    broken = View(
        np.zeros((1, 2, 3), np.uint8), np.array([[1, 9]], np.int32), {1: GROUND}, name="7.png"
    )
    with pytest.raises(
        ValueError, match=r"7\.png: expected every id .* but 9 is missing - prepare the data again"
    ):
        Mosaic(center=(1.0, 1.0))([broken] * 4, CATEGORIES, random())


def test_partners_depend_only_on_the_seed_and_come_from_the_whole_split():
    seen = []

    def view_of(sample, seed):
        seen.append((sample, seed))
        return view([[1, 5]], {1: GROUND, 5: BALL}, sample)

    made = [
        mixed(CopyPaste(), view_of, 50, (3, epoch, 7), CATEGORIES).image.tolist()
        for epoch in (0, 1, 0)
    ]
    assert made[0] == made[2]
    assert seen[0] == (7, (3, 0, 7))  # the own view is that of an unmixed sample
    assert seen[:2] == seen[4:]
    partners = set()
    for index in range(30):
        partners.add(mixed(CopyPaste(), view_of, 50, (0, 0, index), CATEGORIES).image.max())
    assert len(partners - {7}) > 10


def test_partners_are_read_only_for_samples_that_are_mixed():
    seen = []

    def view_of(sample, seed):
        seen.append(sample)
        return view([[1]], {1: GROUND})

    for epoch in range(100):
        mixed(Mosaic(p=0.25), view_of, 5, (0, epoch, 0), CATEGORIES)
    assert 100 + 3 * 12 < len(seen) < 100 + 3 * 40


def test_a_mosaic_center_in_the_wrong_order_is_refused():
    with pytest.raises(ValueError, match=r"but got \(0\.7, 0\.3\) - swap them"):
        Mosaic(center=(0.7, 0.3))
