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
    return [
        np.array(values)[
            draw(npst.arrays(np.int64, shape, elements=st.integers(0, len(values) - 1)))
        ]
        for _ in range(2)
    ]


def naive_histogram(first, second):
    counts = {}
    for pair in zip(first.ravel().tolist(), second.ravel().tolist(), strict=True):
        counts[pair] = counts.get(pair, 0) + 1
    return counts


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.int16, np.int8, np.uint8])
@given(st.data())
@settings(max_examples=20)
def test_pairs_of_any_values_are_counted(kind, dtype, data):
    values = [
        value for value in VALUES[kind] if np.iinfo(dtype).min <= value <= np.iinfo(dtype).max
    ]
    first, second = (array.astype(dtype) for array in data.draw(maps_of(values)))
    left, right, counts = joint_histogram(first, second)
    assert dict(
        zip(zip(left.tolist(), right.tolist(), strict=True), counts.tolist(), strict=True)
    ) == naive_histogram(first, second)


def test_flags_are_counted_too():
    found = joint_histogram(np.array([[True, True, False]]), np.array([[True, False, False]]))
    assert [part.tolist() for part in found] == [[0, 1, 1], [0, 0, 1], [1, 1, 1]]


@pytest.mark.parametrize("number", [3, 300, 30_000])
@pytest.mark.parametrize("width", [640, 641, 7])
def test_many_values_and_large_maps_are_counted(number, width):
    # more values than the hash table can tell apart, more pairs than a dense table may have, more pixels than a block, no multiple of eight
    random = np.random.default_rng(number)
    ids = random.integers(0, 2**24, number, dtype=np.int32)
    first, second = (
        np.repeat(ids[random.integers(0, number, 30_000)], 7)[: 201 * width].reshape(-1, width)
        for _ in range(2)
    )
    assert {
        (a, b): n
        for a, b, n in zip(*(part.tolist() for part in joint_histogram(first, second)), strict=True)
    } == naive_histogram(first, second)


def test_overlaps_name_only_values_that_occur():
    found = overlaps(np.array([[3, 3, 9]]), np.array([[1, 5, 5]]))
    assert (found.first.tolist(), found.second.tolist()) == ([3, 9], [1, 5])
    assert (found.rows.tolist(), found.columns.tolist(), found.pixels.tolist()) == (
        [0, 0, 1],
        [0, 1, 1],
        [1, 1, 1],
    )


@st.composite
def pairs_of_maps(draw):
    first = draw(id_maps())
    return first, draw(id_maps(sizes=st.just(first.shape)))


@given(pairs_of_maps())
def test_joint_histogram_equals_counting_every_pixel(maps):
    first, second = maps
    naive = naive_histogram(first, second)
    left, right, counts = joint_histogram(first, second)
    assert list(zip(left.tolist(), right.tolist(), strict=True)) == sorted(naive)
    assert (
        dict(zip(zip(left.tolist(), right.tolist(), strict=True), counts.tolist(), strict=True))
        == naive
    )


@given(pairs_of_maps())
def test_joint_histogram_does_not_mind_the_layout_in_memory(maps):
    first, second = maps
    plain = joint_histogram(first, second)
    turned = joint_histogram(np.asfortranarray(first), second[::-1][::-1])
    assert all(np.array_equal(a, b) for a, b in zip(plain, turned, strict=True))


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
