import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from pycocotools import mask as coco_mask

from maskmill.canonical.rle import _decompress, _decompressed, decode_rle, rle_runs

SIZE = (3, 4)
CODE = coco_mask.encode(np.asfortranarray(np.eye(*SIZE, dtype=np.uint8)))["counts"].decode()
shapes = st.tuples(st.integers(1, 40), st.integers(1, 40))
masks = shapes.flatmap(lambda shape: npst.arrays(np.uint8, shape, elements=st.integers(0, 1)))


@pytest.mark.slow
@given(masks)
@settings(max_examples=100)
def test_a_code_decodes_as_by_pycocotools(mask):
    rle = coco_mask.encode(np.asfortranarray(mask))
    runs = rle_runs(rle, mask.shape).tolist()
    as_text = rle | {"counts": rle["counts"].decode()}
    for code in (rle, as_text, {"size": list(mask.shape), "counts": runs}):
        assert np.array_equal(decode_rle(code, mask.shape), mask)
        assert rle_runs(code, mask.shape).tolist() == runs


@pytest.mark.slow
@given(st.lists(st.integers(ord("0") - 1, ord("0") + 64), max_size=12).map(bytes))
@settings(max_examples=500)
def test_a_short_code_is_read_as_any_other(text):
    def runs_of(decompress):
        try:
            return decompress(text).tolist()
        except ValueError as error:
            return str(error)

    assert runs_of(_decompressed) == runs_of(lambda text: _decompress([text])[0])


def test_runs_longer_than_a_16_bit_number_decode():
    mask = np.zeros((700, 900), np.uint8)
    mask[:, 100:800] = 1
    mask[5, 500] = 0
    rle = coco_mask.encode(np.asfortranarray(mask))
    assert np.array_equal(decode_rle(rle, mask.shape), mask)


def test_empty_runs_are_allowed():
    runs = [0, 5, 0, 3, 4, 0]
    expected = np.array([1] * 8 + [0] * 4).reshape(4, 3).T
    assert np.array_equal(decode_rle({"size": SIZE, "counts": runs}, SIZE), expected)


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ("13", "expected `size` and `counts`, but got a str"),
        ([12], "but got a list"),
        ({}, r"expected size \[3, 4\], but got None"),
        ({"size": [3], "counts": CODE}, r"but got \[3\]"),
        ({"size": [4, 3], "counts": CODE}, r"but got \[4, 3\]"),
        ({"size": [3.0, 4.0], "counts": CODE}, r"but got \[3.0, 4.0\]"),
        ({"size": [[3], 4], "counts": CODE}, r"but got \[\[3\], 4\]"),
        ({"size": "34", "counts": CODE}, "but got 34"),
        ({"size": [3, 4]}, "counts as a list or text, but got NoneType"),
        ({"size": [3, 4], "counts": {"0": 12}}, "but got dict"),
        ({"size": [3, 4], "counts": ["12"]}, "whole numbers, but got other values"),
        ({"size": [3, 4], "counts": [12.0]}, "whole numbers, but got other values"),
        ({"size": [3, 4], "counts": [True, 11]}, "whole numbers, but got other values"),
        ({"size": [3, 4], "counts": [None]}, "whole numbers, but got other values"),
        ({"size": [3, 4], "counts": [10**30]}, "one is beyond 2"),
        ({"size": [3, 4], "counts": [2**62] * 4}, "one is longer than 32 bits"),
        ({"size": [3, 4], "counts": []}, "runs of 12 pixels in all, but got 0"),
        ({"size": [3, 4], "counts": [11]}, "runs of 12 pixels in all, but got 11"),
        ({"size": [3, 4], "counts": [12, 1]}, "runs of 12 pixels in all, but got 13"),
        ({"size": [3, 4], "counts": [20, -8]}, "at least 0, but got -8"),
        ({"size": [3, 4], "counts": ""}, "runs of 12 pixels in all, but got 0"),
        ({"size": [3, 4], "counts": ";"}, "runs of 12 pixels in all, but got 11"),
        ({"size": [3, 4], "counts": "N"}, "at least 0, but got -2"),
        ({"size": [3, 4], "counts": "<P"}, "ends within a number"),
        ({"size": [3, 4], "counts": "PPPPPPP0"}, "numbers of 7 characters"),
        ({"size": [3, 4], "counts": "oooooo?"}, "one is longer than 32 bits"),
        ({"size": [3, 4], "counts": "< "}, "characters beyond '0' to 'o'"),
        ({"size": [3, 4], "counts": "<p"}, "characters beyond '0' to 'o'"),
        ({"size": [3, 4], "counts": "é"}, "characters beyond '0' to 'o'"),
        ({"size": [3, 4], "counts": "\ud800"}, "characters beyond '0' to 'o'"),
        ({"size": [3, 4], "counts": b"\xff"}, "characters beyond '0' to 'o'"),
    ],
)
def test_an_invalid_code_is_refused_with_what_is_wrong(rle, message):
    with pytest.raises(ValueError, match=message):
        decode_rle(rle, SIZE)


@pytest.mark.slow
@given(st.data())
@settings(max_examples=300)
def test_a_changed_code_is_refused_or_covers_the_image_exactly(data):
    """A changed character, a cut, or an inserted one: never a mask of undefined pixels."""
    code = list(CODE)
    where = data.draw(st.integers(0, len(code) - 1))
    until = data.draw(st.integers(where, len(code)))
    code[where:until] = data.draw(st.text(max_size=3))
    rle = {"size": list(SIZE), "counts": "".join(code)}
    try:
        runs = rle_runs(rle, SIZE)
    except ValueError:
        return
    assert runs.sum() == 12
    assert runs.min() >= 0
    assert np.array_equal(decode_rle(rle, SIZE), coco_mask.decode(rle))
