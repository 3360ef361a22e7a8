import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from maskmill.canonical.runs import joint_histogram, relabel
from strategies import id_maps


@st.composite
def pairs_of_maps(draw):
    first = draw(id_maps())
    return first, draw(id_maps(sizes=st.just(first.shape)))


@given(pairs_of_maps())
def test_joint_histogram_equals_counting_every_pixel(maps):
    first, second = maps
    naive = {}
    for pair in zip(first.ravel().tolist(), second.ravel().tolist(), strict=True):
        naive[pair] = naive.get(pair, 0) + 1
    left, right, counts = joint_histogram(first, second)
    assert list(zip(left.tolist(), right.tolist(), strict=True)) == sorted(naive)
    assert dict(zip(zip(left.tolist(), right.tolist(), strict=True), counts.tolist(), strict=True)) == naive


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
