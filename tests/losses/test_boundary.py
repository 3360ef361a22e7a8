import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from maskmill.canonical.categories import IGNORE_INDEX
from maskmill.losses.boundary import Boundary, signed_distances

FLOAT32 = 1e-4  # OpenCV computes distances in float32


def test_distances_are_negative_inside_and_zero_where_ignored():
    distance, num_classes = signed_distances(np.array([[0, 0, 1, 1, 1, IGNORE_INDEX]], np.uint8), 3)
    assert distance[:, 0].tolist() == [[-1, 0, 1, 2, 3, 0], [2, 1, 0, -1, -2, 0], [0] * 6]
    assert num_classes == 2


def test_an_ignored_gap_is_not_an_outline():
    distance, _ = signed_distances(np.array([[0, IGNORE_INDEX, 1]], np.uint8), 2)
    assert distance[:, 0].tolist() == [[-1, 0, 2], [2, 0, -1]]


maps = npst.arrays(
    np.uint8,
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    elements=st.sampled_from([0, 1, 2, IGNORE_INDEX]),
)


@given(maps)
def test_distances_equal_the_definition(target):
    distance, num_classes = signed_distances(target, 4)
    present = set(np.unique(target).tolist()) - {IGNORE_INDEX}
    assert num_classes == (len(present) if len(present) > 1 else 0)
    for (y, x), label in np.ndenumerate(target):
        for index in range(4):
            own = np.argwhere(target == index)
            others = np.argwhere((target != index) & (target != IGNORE_INDEX))
            if label == IGNORE_INDEX or not len(own) or not len(others):
                assert distance[index, y, x] == 0
            elif label == index:
                nearest = np.hypot(*(others - (y, x)).T).min()
                assert distance[index, y, x] == pytest.approx(1 - nearest, abs=FLOAT32)
            else:
                nearest = np.hypot(*(own - (y, x)).T).min()
                assert distance[index, y, x] == pytest.approx(nearest, abs=FLOAT32)


def test_the_loss_is_the_mean_of_probability_times_distance():
    # All probabilities are 1/2. Distances of class 0: -1 0 1 2 3, of class 1: 2 1 0 -1 -2, over
    # five pixels of two classes.
    target = torch.tensor([[[0, 0, 1, 1, 1]]], dtype=torch.uint8)
    loss = Boundary(weight=2.0)({"semantic": torch.zeros(1, 2, 1, 5)}, {"semantic": target})
    assert loss["boundary"].item() == pytest.approx(2 * 0.5 * (5 + 0) / 10)


def test_the_correct_prediction_has_the_lowest_loss():
    target = torch.zeros(1, 9, 9, dtype=torch.uint8)
    target[0, 2:6, 3:8] = 1
    correct = 50 * torch.nn.functional.one_hot(target.long(), 2).permute(0, 3, 1, 2).float()
    losses = []
    for logits in (correct, correct.roll(1, dims=3), -correct):
        losses.append(Boundary()({"semantic": logits}, {"semantic": target})["boundary"].item())
    assert losses[0] < losses[1] < losses[2]
