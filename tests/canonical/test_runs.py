import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from maskmill.canonical.runs import joint_histogram, overlaps, relabel
from strategies import id_maps, sizes

BOUND = 2**31 - 1
VALUES = {
    "few": [0, 1, 2],
    "all of a byte": [-128, -1, 0, 127],
    "as in a PNG": [0, 7, 2**24 - 1],
    "signed": [-1, 0, 5],
    "any": [-BOUND, -(2**16), 0, 2**16, BOUND],
}


@st.composite
def maps_of(draw, values):
    shape = draw(sizes)
    index = npst.arrays(np.int64, shape, elements=st.integers(0, len(values) - 1))
    return np.array(values)[draw(index)], np.array(values)[draw(index)]


def naive_histogram(first, second):
    counts = {}
    for pair in zip(first.ravel().tolist(), second.ravel().tolist(), strict=True):
        counts[pair] = counts.get(pair, 0) + 1
    return counts


def counted_pairs(first, second):
    """`joint_histogram` in the form of `naive_histogram`, in its order."""
    values, others, pixels = joint_histogram(first, second)
    pairs = zip(values.tolist(), others.tolist(), strict=True)
    return dict(zip(pairs, pixels.tolist(), strict=True))


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.int16, np.int8, np.uint8])
@given(st.data())
@settings(max_examples=20)
def test_pairs_of_any_values_are_counted(kind, dtype, data):
    limits = np.iinfo(dtype)
    values = [value for value in VALUES[kind] if limits.min <= value <= limits.max]
    first, second = data.draw(maps_of(values))
    first = first.astype(dtype)
    second = second.astype(dtype)
    assert counted_pairs(first, second) == naive_histogram(first, second)


def test_flags_are_counted_too():
    first = np.array([[True, True, False]])
    second = np.array([[True, False, False]])
    assert counted_pairs(first, second) == {(0, 0): 1, (1, 0): 1, (1, 1): 1}


@pytest.mark.parametrize("num_values", [3, 300, 30_000])
@pytest.mark.parametrize("width", [640, 641, 7])
def test_many_values_and_large_maps_are_counted(num_values, width):
    # More values than the hash tables can separate, more pairs than a dense table may have, and
    # numbers of pixels that are not a multiple of eight.
    random = np.random.default_rng(num_values)
    ids = random.integers(0, 2**24, num_values, dtype=np.int32)
    num_pixels = 201 * width
    first = np.repeat(ids[random.integers(0, num_values, 30_000)], 7)[:num_pixels]
    second = np.repeat(ids[random.integers(0, num_values, 30_000)], 7)[:num_pixels]
    first = first.reshape(-1, width)
    second = second.reshape(-1, width)
    assert counted_pairs(first, second) == naive_histogram(first, second)


def test_overlaps_name_only_values_that_occur():
    pairs = overlaps(np.array([[3, 3, 9]]), np.array([[1, 5, 5]]))
    assert pairs.first.tolist() == [3, 9]
    assert pairs.second.tolist() == [1, 5]
    assert pairs.rows.tolist() == [0, 0, 1]
    assert pairs.columns.tolist() == [0, 1, 1]
    assert pairs.pixels.tolist() == [1, 1, 1]


@st.composite
def pairs_of_maps(draw):
    first = draw(id_maps())
    return first, draw(id_maps(sizes=st.just(first.shape)))


@given(pairs_of_maps())
def test_joint_histogram_equals_counting_every_pixel(maps):
    first, second = maps
    counted = counted_pairs(first, second)
    assert counted == naive_histogram(first, second)
    assert list(counted) == sorted(counted)


@given(pairs_of_maps())
def test_joint_histogram_does_not_depend_on_the_layout_in_memory(maps):
    first, second = maps
    other_layout = counted_pairs(np.asfortranarray(first), second[::-1][::-1])
    assert other_layout == counted_pairs(first, second)


@given(id_maps(), st.data())
def test_relabel_equals_looking_every_pixel_up(ids, data):
    values = np.unique(ids).tolist()
    known = data.draw(st.lists(st.sampled_from(values), unique=True))
    table = {value: data.draw(st.integers(-5, 300)) for value in known}
    expected = [[table.get(value, 77) for value in row] for row in ids.tolist()]
    result = relabel(ids, table, default=77)
    assert result.dtype == np.int32
    assert result.tolist() == expected


def test_relabel_of_an_empty_map_is_empty():
    assert relabel(np.zeros((0, 4), np.int64), {}, default=1).shape == (0, 4)
