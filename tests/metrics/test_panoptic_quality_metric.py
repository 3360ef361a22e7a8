"""PanopticQuality from tensors: any type, any device, any batch size."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from drawn_folders import BALL, GROUND, SKY
from maskmill.canonical.panoptic import VOID_CATEGORY
from maskmill.canonical.runs import overlaps
from maskmill.metrics import ConfusionMatrix, PanopticQuality
from maskmill.metrics.functional.confusion_matrix import confusion_matrix
from maskmill.metrics.functional.tensor_overlaps import device_overlaps, tensor_confusion
from metric_cases import PREDS, TARGETS, elsewhere, pixels, same_values
from strategies import CATEGORIES, panoptic_pairs


@pytest.mark.slow
@given(
    panoptic_pairs(crowds=False),
    st.sampled_from([VOID_CATEGORY, 255]),
    st.sampled_from([torch.int64, torch.int32]),
    st.booleans(),
)
def test_tensors_are_counted_as_segments(pair, void, dtype, void_in_union):
    for panoptic in pair:  # to tensors the segments of a stuff class are one
        stuff = [
            segment.category_id
            for segment in panoptic.segments
            if segment.category_id in (GROUND, SKY)
        ]
        assume(len(stuff) == len(set(stuff)))
    segments, tensors = (PanopticQuality(CATEGORIES, void_in_union=void_in_union) for _ in range(2))
    segments.update(*([panoptic] for panoptic in pair))
    tensors.update(*(pixels(panoptic, void=void, dtype=dtype)[None] for panoptic in pair))
    assert torch.equal(tensors.counts[:, 1:], segments.counts[:, 1:])
    assert torch.allclose(
        tensors.counts[:, 0], segments.counts[:, 0], rtol=0, atol=1e-14
    )  # segments are numbered in another order


@pytest.mark.slow
@given(panoptic_pairs())
def test_overlaps_on_a_device_equal_those_of_numpy(pair):
    pred, target = pair
    first, second = (
        overlaps(target.ids, pred.ids),
        device_overlaps(torch.from_numpy(target.ids), torch.from_numpy(pred.ids)),
    )
    for name, column in vars(first).items():
        assert np.array_equal(column, getattr(second, name)), name


@pytest.mark.slow
@given(panoptic_pairs(crowds=False))
@settings(max_examples=25)
def test_tensors_of_another_device_have_the_same_counts(pair):
    here, there = PanopticQuality(CATEGORIES), PanopticQuality(CATEGORIES)
    tensors = [pixels(panoptic)[None] for panoptic in pair]
    here.update(*tensors)
    there.update(*(elsewhere(tensor) for tensor in tensors))
    assert torch.equal(here.counts, there.counts)
    maps = [tensor[..., 0] for tensor in tensors]
    expected = torch.from_numpy(
        confusion_matrix(*(panoptic.category_map() for panoptic in pair), CATEGORIES)
    )
    assert torch.equal(tensor_confusion(*maps, CATEGORIES), expected)
    assert torch.equal(tensor_confusion(*(elsewhere(one) for one in maps), CATEGORIES), expected)


def test_a_batch_may_have_any_size():
    def scored(size):
        metric = PanopticQuality(CATEGORIES)
        for start in range(0, len(PREDS), size):
            metric.update(
                *(
                    torch.stack([pixels(one) for one in side[start : start + size]])
                    for side in (PREDS, TARGETS)
                )
            )
        return metric.compute()

    assert same_values(scored(1), scored(2))
    assert same_values(scored(1), scored(5))


def test_wrong_tensors_are_refused():
    metric, good = PanopticQuality(CATEGORIES), pixels(TARGETS[0])[None]
    with pytest.raises(ValueError, match=r"one shape \(B, H, W, 2\), but got \(1, 24, 32\)"):
        metric.update(good[..., 0], good[..., 0])
    with pytest.raises(ValueError, match=r"category ids of the table .* got the category \[77\]"):
        metric.update(torch.where(good == BALL, 77, good), good)
    with pytest.raises(ValueError, match="both as tensors or neither"):
        metric.update(good, [TARGETS[0]])
    with pytest.raises(ValueError, match=r"category ids of the table, but got \[77\]"):
        ConfusionMatrix(CATEGORIES).update(torch.full((1, 4, 4), 77), torch.full((1, 4, 4), BALL))
