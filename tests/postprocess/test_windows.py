import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskmill.postprocess.windows import ALIGN_PX, Tiling


def spans(tiling, length):
    return [(span.begin, span.end) for span in tiling.spans(0, length)]


def test_windows_step_by_the_part_they_do_not_share_and_end_with_the_image():
    assert spans(Tiling((64, 64)), 150) == [(0, 64), (32, 96), (64, 128), (96, 150)]
    assert spans(Tiling((64, 64), overlap=0.0), 130) == [(0, 64), (64, 128), (128, 130)]


@pytest.mark.parametrize("length", [1, 63, 64])
def test_an_image_no_larger_than_a_window_is_one_window(length):
    (span,) = Tiling((64, 64)).spans(0, length)
    assert (span.begin, span.end, span.first, span.last) == (0, length, True, True)


def test_importance_is_the_gaussian_of_nnunet():
    # sigma 8 px around the middle between pixels 31 and 32; at the edge it is 31.5 px away
    (span,) = Tiling((64, 64)).spans(0, 64)
    weight = Tiling((64, 64)).importance(0, span)
    assert weight[0].item() == pytest.approx(torch.exp(torch.tensor(-0.5 * (31.5 / 8) ** 2)).item())
    assert torch.equal(weight, weight.flip(0))


def test_margins_say_nothing_but_at_the_edges_of_the_image():
    tiling = Tiling((64, 64), margin=5)
    first, *_, last = tiling.spans(0, 200)
    assert (tiling.importance(0, first) == 0).nonzero().flatten().tolist() == [59, 60, 61, 62, 63]
    assert (tiling.importance(0, last) == 0).nonzero().flatten().tolist() == [0, 1, 2, 3, 4]


@given(
    length=st.integers(1, 700),
    window=st.integers(32, 200),
    overlap=st.floats(0, 0.9),
    margin=st.integers(0, 60),
)
def test_some_window_speaks_for_every_pixel_and_windows_begin_at_the_stride(
    length, window, overlap, margin
):
    try:
        tiling = Tiling((window, window), overlap, margin)
    except ValueError:
        return  # margins that meet are refused
    weight = torch.zeros(length)
    for span in tiling.spans(0, length):
        assert span.begin % ALIGN_PX == 0
        weight[span.slice] += tiling.importance(0, span)
    assert (weight > 0).all()


@pytest.mark.parametrize(
    "values",
    [
        {"window": (16, 64)},
        {"overlap": 1.0},
        {"overlap": -0.1},
        {"margin": -1},
        {"margin": 16},
        {"overlap": 0.0, "margin": 1},
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(values):
    with pytest.raises(ValueError, match=r"Expected .* but got"):
        Tiling(**{"window": (64, 64), **values})
