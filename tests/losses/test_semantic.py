import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskmill.canonical.categories import IGNORE_INDEX
from maskmill.losses.semantic import CrossEntropy, Dice, Sum


def batch(rows):
    return {"semantic": torch.tensor(rows, dtype=torch.uint8)[None]}


def logits(*probs):
    """One row of pixels, each with the given probabilities of two classes."""
    return {"semantic": torch.tensor(probs).log().T[None, :, None, :].requires_grad_()}


CERTAIN, EVEN, WRONG = (0.99, 0.01), (0.5, 0.5), (0.25, 0.75)


def test_cross_entropy_is_the_mean_over_labelled_pixels():
    # -ln 0.5 and -ln 0.25 over two pixels; the third is not labelled, however wrong it is
    loss = CrossEntropy()(logits(EVEN, WRONG, WRONG), batch([[0, 0, IGNORE_INDEX]]))
    assert loss["cross_entropy"].item() == pytest.approx((math.log(2) + math.log(4)) / 2)


def test_weight_scales_the_term():
    assert CrossEntropy(3.0)(logits(EVEN), batch([[0]]))["cross_entropy"].item() == pytest.approx(3 * math.log(2))


@pytest.mark.parametrize(("hardest", "expected"), [(0.25, math.log(4)), (0.5, (math.log(4) + math.log(2)) / 2)])
def test_only_the_hardest_share_of_the_labelled_pixels_counts(hardest, expected):
    # four labelled pixels: a share of 1/4 keeps WRONG, 1/2 keeps WRONG and EVEN; the unlabelled fifth does not enlarge the share
    outputs = logits(CERTAIN, EVEN, CERTAIN, WRONG, WRONG)
    loss = CrossEntropy(hardest=hardest)(outputs, batch([[0, 0, 0, 0, IGNORE_INDEX]]))
    assert loss["cross_entropy"].item() == pytest.approx(expected)


def test_label_smoothing_asks_for_a_share_of_every_class():
    # target (0.9, 0.1): 0.8 for the label and half of 0.2 for each of two classes
    expected = -(0.9 * math.log(0.25) + 0.1 * math.log(0.75))
    loss = CrossEntropy(label_smoothing=0.2)(logits(WRONG, WRONG), batch([[0, IGNORE_INDEX]]))
    assert loss["cross_entropy"].item() == pytest.approx(expected)


def test_class_weights_make_a_weighted_mean():
    # (3 * ln 2 + 1 * ln 4/3) / (3 + 1)
    loss = CrossEntropy(class_weights=[3.0, 1.0])(logits(EVEN, WRONG, WRONG), batch([[0, 1, IGNORE_INDEX]]))
    assert loss["cross_entropy"].item() == pytest.approx((3 * math.log(2) + math.log(4 / 3)) / 4)


def test_class_weights_of_another_number_of_classes_are_refused():
    with pytest.raises(ValueError, match=r"weight.*2 classes.*got 3"):
        CrossEntropy(class_weights=[1.0, 1.0, 1.0])(logits(EVEN), batch([[0]]))


def test_dice_of_an_even_guess_is_one_half():
    # two pixels of each class: overlap 2 x 0.5, total 4 x 0.5 + 2, Dice 2 / 4
    loss = Dice()(logits(EVEN, EVEN, EVEN, EVEN), batch([[0, 0, 1, 1]]))
    assert loss["dice"].item() == pytest.approx(0.5)


def test_dice_averages_over_the_classes_present():
    # class 0 only: overlap 0.5, total 0.5 + 1, Dice 2/3; class 1 has no pixel and no say
    assert Dice()(logits(EVEN), batch([[0]]))["dice"].item() == pytest.approx(1 / 3)


def test_a_sure_and_right_guess_costs_nothing():
    outputs = {"semantic": torch.tensor([[50.0, -50.0], [-50.0, 50.0]])[None, :, None, :]}
    terms = Sum([CrossEntropy(), Dice()])(outputs, batch([[0, 1]]))
    assert terms.keys() == {"cross_entropy", "dice"}
    assert [term.item() for term in terms.values()] == pytest.approx([0, 0], abs=1e-6)


LOSSES = [
    pytest.param(CrossEntropy(), id="cross-entropy"),
    pytest.param(CrossEntropy(hardest=0.2), id="hardest"),
    pytest.param(CrossEntropy(label_smoothing=0.1, class_weights=[1.0, 2.0]), id="smoothed-and-weighted"),
    pytest.param(Dice(), id="dice"),
]


@pytest.mark.parametrize("loss", LOSSES)
def test_a_batch_without_labels_teaches_nothing(loss):
    outputs = logits(EVEN, WRONG)
    total = sum(loss(outputs, batch([[IGNORE_INDEX, IGNORE_INDEX]])).values())
    total.backward()
    assert total.item() == 0
    assert outputs["semantic"].grad is None or not outputs["semantic"].grad.any()


@pytest.mark.parametrize("loss", LOSSES)
@given(target=st.lists(st.sampled_from([0, 1]), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_unlabelled_pixels_change_nothing(loss, target, seed):
    scores = torch.randn(1, 2, 1, len(target) + 3, generator=torch.Generator().manual_seed(seed))
    bare = loss({"semantic": scores[..., :-3]}, batch([target]))
    padded = loss({"semantic": scores}, batch([target + [IGNORE_INDEX] * 3]))
    assert [value.item() for value in padded.values()] == pytest.approx([value.item() for value in bare.values()], rel=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_logits_are_summed_in_full(loss):
    outputs = {"semantic": torch.randn(1, 2, 64, 64, generator=torch.Generator().manual_seed(0)).bfloat16()}
    targets = {"semantic": torch.zeros(1, 64, 64, dtype=torch.uint8)}
    half, full = loss(outputs, targets), loss({"semantic": outputs["semantic"].float()}, targets)
    assert half == full
    assert all(value.dtype == torch.float32 for value in half.values())


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda: CrossEntropy(-1.0), id="weight"),
        pytest.param(lambda: CrossEntropy(float("nan")), id="weight-nan"),
        pytest.param(lambda: CrossEntropy(label_smoothing=1.0), id="smoothing"),
        pytest.param(lambda: CrossEntropy(hardest=0.0), id="hardest"),
        pytest.param(lambda: CrossEntropy(class_weights=[1.0, -1.0]), id="class-weights"),
        pytest.param(lambda: Dice(-1.0), id="dice-weight"),
        pytest.param(lambda: Sum([]), id="no-losses"),
        pytest.param(lambda: Sum([CrossEntropy(), CrossEntropy()])(logits(EVEN), batch([[0]])), id="two-terms-of-one-name"),
    ],
)
def test_values_out_of_range_are_refused(build):
    with pytest.raises(ValueError, match=r"Expected .* but got"):
        build()
