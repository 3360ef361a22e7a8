import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.canonical.panoptic import Panoptic
from maskmill.sources.statistics import balanced_weights, count_image


def count(rgb):
    return count_image(rgb, Panoptic.from_ids(np.ones(rgb.shape[:2], np.int32), {1: 7}))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_colours_are_summed_exactly(height, width, seed):
    rgb = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    counts = count(rgb)
    assert counts["sums"] == rgb.sum((0, 1), dtype=np.int64).tolist()
    assert counts["squares"] == (rgb.astype(np.int64) ** 2).sum((0, 1)).tolist()


def test_the_sums_of_a_large_white_image_do_not_overflow():
    height, width = 5000, 4000  # 255 ** 2 x 20 M pixels is above 2 ** 40
    counts = count(np.full((height, width, 3), 255, np.uint8))
    assert counts["sums"] == [255 * height * width] * 3
    assert counts["squares"] == [255**2 * height * width] * 3
    assert counts["classes"] == {"7": [height * width, 1, 0, 0, 1]}


@pytest.mark.parametrize(
    ("area", "sizes"), [(1023, [1, 0, 0]), (1024, [0, 1, 0]), (9215, [0, 1, 0]), (9216, [0, 0, 1])]
)
def test_segments_are_small_medium_and_large_by_cocos_bounds(area, sizes):
    ids = np.zeros((1, 10_000), np.int32)
    ids[0, :area] = 1
    counts = count_image(np.zeros((1, 10_000, 3), np.uint8), Panoptic.from_ids(ids, {1: 7}))
    assert counts["classes"]["7"] == [area, 1, *sizes]


def test_a_weight_is_the_median_frequency_divided_by_the_class_frequency():
    # frequencies 0.5, 0.1 and 0.25 of the images each class is in: the median is 0.25
    assert balanced_weights({1: (50, 100), 2: (10, 100), 3: (50, 200)}) == {1: 0.5, 2: 2.5, 3: 1.0}
