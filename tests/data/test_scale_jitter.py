import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from maskmill.data.scale_jitter import ScaleJitter
from maskmill.data.transforms import Augmentation

sides = st.integers(1, 60)


def jitter(size, scale):
    return Augmentation([ScaleJitter(size, scale)])


@given(st.tuples(sides, sides), st.tuples(sides, sides), st.floats(0.1, 2.0), st.integers(0, 99))
@hypothesis_settings(deadline=None)
def test_every_result_has_the_requested_size_and_only_ids_of_the_image(source, size, scale, seed):
    ids = np.random.default_rng(seed).integers(1, 16_000_000, source).astype(np.int32)
    image, moved = jitter(size, (scale, scale))(np.zeros((*source, 3), np.uint8), ids, (seed,))
    assert image.shape == (*size, 3)
    assert moved.shape == size
    assert moved.dtype == np.int32
    assert set(np.unique(moved)) <= set(np.unique(ids)) | {0}
    assert moved.any()


def test_at_scale_one_the_image_just_fits_and_the_rest_is_black_and_void():
    image, ids = jitter((40, 40), (1.0, 1.0))(
        np.full((20, 10, 3), 9, np.uint8), np.full((20, 10), 5, np.int32), (0,)
    )
    columns = np.flatnonzero(ids.any(axis=0))
    assert ids.any(axis=1).all()
    assert len(columns) == 20  # 20 x 10 becomes 40 x 20
    assert np.array_equal(np.flatnonzero(image.any(axis=(0, 2))), columns)


@pytest.mark.parametrize("source", [(20, 10), (200, 100)])
def test_without_fitting_images_of_all_sizes_keep_their_own_pixels_at_scale_one(source):
    ids = np.arange(1, np.prod(source) + 1, dtype=np.int32).reshape(source)
    transform = Augmentation([ScaleJitter((40, 40), (1.0, 1.0), fit=False)])
    _, moved = transform(np.zeros((*source, 3), np.uint8), ids, (0,))
    rows, columns = np.nonzero(moved)
    seen = moved[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert seen.shape == (min(source[0], 40), min(source[1], 40))
    assert (np.diff(seen, axis=1) == 1).all()
    assert (np.diff(seen, axis=0) == source[1]).all()


def test_at_scale_two_half_of_each_side_is_visible_at_twice_the_size():
    painted = np.repeat(np.arange(64, dtype=np.uint8), 64).reshape(64, 64)
    for seed in range(10):
        _, ids = jitter((64, 64), (2.0, 2.0))(
            np.zeros((64, 64, 3), np.uint8), painted.astype(np.int32) + 1, (seed,)
        )
        rows = ids[:, 0]
        assert rows[-1] - rows[0] in {31, 32}
        assert np.diff(rows).max() <= 1


def test_image_and_ids_move_together():
    ids = np.kron(np.arange(1, 17, dtype=np.int32).reshape(4, 4), np.ones((16, 16), np.int32))
    image = np.repeat((ids * 10).astype(np.uint8)[..., None], 3, axis=2)
    for seed in range(20):
        seen, moved = jitter((48, 48), (0.5, 2.0))(image, ids, (seed,))
        # Where all neighbours have the same id, interpolation mixes nothing.
        inner = np.ones(moved.shape, bool)
        for axis in (0, 1):
            for step in (-1, 1):
                inner &= np.roll(moved, step, axis) == moved
        difference = np.abs(seen[..., 0].astype(int) - moved * 10)
        assert difference[inner].max() <= 5  # at most half a pixel of blur


def one_small_segment(height=300, width=400, row=37, column=391):
    ids = np.ones((height, width), np.int32)
    ids[row : row + 2, column : column + 2] = 9
    return np.zeros((height, width, 3), np.uint8), ids


@pytest.mark.parametrize(("row", "column"), [(37, 391), (0, 0), (298, 398), (150, 200)])
@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.67, 1.5), (3.0, 3.0)])
def test_every_segment_is_drawn_as_often_however_small(row, column, scale):
    image, ids = one_small_segment(row=row, column=column)
    transform = Augmentation([ScaleJitter((64, 64), scale, fit=False, segment_share=1.0)])
    shown = 0
    for seed in range(400):
        _, moved = transform(image, ids, (seed,))
        shown += bool((moved == 9).any())
    # half of the windows are placed over the segment of 4 pixels, binomial with a deviation of 10;
    # of the others, few contain it by chance
    assert 160 < shown < 265


def test_the_pixel_is_anywhere_in_the_window():
    image, ids = one_small_segment(row=150, column=200)
    ids[ids == 1] = 0
    transform = Augmentation([ScaleJitter((64, 64), (1.0, 1.0), fit=False, segment_share=1.0)])
    corners = []
    for seed in range(400):
        _, moved = transform(image, ids, (seed,))
        corners.append(np.argwhere(moved == 9).min(axis=0))
    corners = np.array(corners)
    assert corners.min() <= 1
    assert corners.max() >= 62
    assert np.abs(corners.mean(axis=0) - 31).max() < 5  # uniform: a deviation of 18.5 / sqrt(400)


def test_the_share_is_that_of_the_windows_and_without_segments_they_are_anywhere():
    image, ids = one_small_segment()
    transform = Augmentation([ScaleJitter((64, 64), (1.0, 1.0), fit=False, segment_share=0.25)])
    shown = sum(bool((transform(image, ids, (seed,))[1] == 9).any()) for seed in range(400))
    assert 25 < shown < 85  # an eighth, with a deviation of 7, and by chance
    _, moved = transform(image, np.zeros_like(ids), (0,))
    assert not moved.any()


def test_without_a_share_the_draws_are_those_without_the_argument():
    image, ids = one_small_segment()
    ids = np.arange(1, ids.size + 1, dtype=np.int32).reshape(ids.shape)
    for seed in range(5):
        _, first = jitter((64, 64), (1.0, 2.0))(image, ids, (seed,))
        again = Augmentation([ScaleJitter((64, 64), (1.0, 2.0), segment_share=0.0)])
        assert np.array_equal(first, again(image, ids, (seed,))[1])


def test_a_scale_in_the_wrong_order_is_refused():
    with pytest.raises(ValueError, match=r"but got \(2\.0, 1\.0\) - swap them"):
        ScaleJitter((4, 4), (2.0, 1.0))


@pytest.mark.parametrize(
    ("argument", "value"),
    [("size", (0, 4)), ("scale", (0.0, 1.0)), ("segment_share", 1.5), ("p", 1.5)],
)
def test_a_value_out_of_range_is_refused(argument, value):
    values = {"size": (4, 4), "scale": (0.5, 1.0), argument: value}
    with pytest.raises(ValueError, match=r"Input should be (greater|less) than"):
        ScaleJitter(**values)
