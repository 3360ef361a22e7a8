import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.postprocess.windows import ALIGN_PX, Tiling


def ranges(tiling, length):
    return [(span.start, span.stop) for span in tiling.spans(0, length)]


def ignored_pixels(tiling, span):
    return (tiling.importance(0, span) == 0).nonzero()[0].tolist()


def test_windows_overlap_and_the_last_ends_with_the_image():
    assert ranges(Tiling((64, 64)), 150) == [(0, 64), (32, 96), (64, 128), (96, 150)]


def test_windows_without_overlap_are_adjacent():
    assert ranges(Tiling((64, 64), overlap=0.0), 130) == [(0, 64), (64, 128), (128, 130)]


@pytest.mark.parametrize("length", [1, 63, 64])
def test_an_image_no_larger_than_a_window_is_one_window(length):
    (span,) = Tiling((64, 64)).spans(0, length)
    assert (span.start, span.stop) == (0, length)
    assert span.is_first
    assert span.is_last


def test_importance_is_the_gaussian_of_nnunet():
    # sigma is 8 px; the middle lies between pixels 31 and 32, 31.5 px from the edge
    tiling = Tiling((64, 64))
    (span,) = tiling.spans(0, 64)
    weight = tiling.importance(0, span)
    assert weight[0] == pytest.approx(np.exp(-0.5 * (31.5 / 8) ** 2))
    np.testing.assert_array_equal(weight, weight[::-1])


def test_margins_are_ignored_except_at_the_edges_of_the_image():
    tiling = Tiling((64, 64), margin=5)
    first, *_, last = tiling.spans(0, 200)
    assert ignored_pixels(tiling, first) == [59, 60, 61, 62, 63]
    assert ignored_pixels(tiling, last) == [0, 1, 2, 3, 4]


@given(
    length=st.integers(1, 700),
    window=st.integers(32, 200),
    overlap=st.floats(0, 0.9),
    margin=st.integers(0, 60),
)
def test_every_pixel_has_a_weight_and_windows_start_at_multiples_of_the_stride(
    length, window, overlap, margin
):
    try:
        tiling = Tiling((window, window), overlap, margin)
    except ValueError:
        return  # margins that leave pixels without a window are not allowed
    weight = np.zeros(length)
    for span in tiling.spans(0, length):
        assert span.start % ALIGN_PX == 0
        weight[span.slice] += tiling.importance(0, span)
    assert (weight > 0).all()


@pytest.mark.parametrize(
    "values",
    [{"window": [16, 64]}, {"overlap": 1.0}, {"overlap": -0.1}, {"margin": -1}],
    ids=str,
)
def test_values_out_of_range_raise_a_value_error(build_from_config, values):
    (argument,) = values
    with pytest.raises(ValueError, match=rf"node\.{argument}.*: expected .* but got .*should be"):
        build_from_config("sliding_window.SlidingWindow", **{"window": [64, 64]} | values)


def test_windows_get_a_size_of_at_least_the_alignment():
    assert Tiling(None, 0.25).with_window((20, 96)) == Tiling((32, 96), 0.25)


def test_windows_without_a_size_raise_a_value_error():
    with pytest.raises(ValueError, match="Expected `window`, .* but got None - set it"):
        Tiling(None).spans(0, 64)


@pytest.mark.parametrize("values", [{"margin": 16}, {"overlap": 0.0, "margin": 1}], ids=str)
def test_margins_that_leave_pixels_without_a_window_raise_a_value_error(values):
    with pytest.raises(ValueError, match="Expected `margin` below half of the .* but got"):
        Tiling((64, 64), **values)
