import math

import pytest
import torch

from maskmill.canonical.categories import IGNORE_INDEX
from maskmill.losses.overlap import Dice
from maskmill.losses.semantic import CrossEntropy, Focal, Sum


def batch(rows):
    return {"semantic": torch.tensor(rows, dtype=torch.uint8)[None]}


def logits(*probs):
    """One row of pixels, each with the given probabilities of two classes."""
    return {"semantic": torch.tensor(probs).log().T[None, :, None, :].requires_grad_()}


CERTAIN, EVEN, WRONG = (0.99, 0.01), (0.5, 0.5), (0.25, 0.75)


def test_cross_entropy_is_the_mean_over_labelled_pixels():
    # -ln 0.5 and -ln 0.25 over two pixels; the third is not labelled
    loss = CrossEntropy()(logits(EVEN, WRONG, WRONG), batch([[0, 0, IGNORE_INDEX]]))
    assert loss["cross_entropy"].item() == pytest.approx((math.log(2) + math.log(4)) / 2)


def test_weight_scales_the_term():
    assert CrossEntropy(3.0)(logits(EVEN), batch([[0]]))["cross_entropy"].item() == pytest.approx(
        3 * math.log(2)
    )


@pytest.mark.parametrize(
    ("hardest", "expected"), [(0.25, math.log(4)), (0.5, (math.log(4) + math.log(2)) / 2)]
)
def test_only_the_hardest_fraction_of_the_labelled_pixels_is_counted(hardest, expected):
    # Of four labelled pixels, 1/4 is WRONG, and 1/2 is WRONG and EVEN. The fifth is not labelled.
    outputs = logits(CERTAIN, EVEN, CERTAIN, WRONG, WRONG)
    loss = CrossEntropy(hardest=hardest)(outputs, batch([[0, 0, 0, 0, IGNORE_INDEX]]))
    assert loss["cross_entropy"].item() == pytest.approx(expected)


def test_label_smoothing_spreads_the_target_over_every_class():
    # target (0.9, 0.1): 0.8 for the label and half of 0.2 for each of two classes
    expected = -(0.9 * math.log(0.25) + 0.1 * math.log(0.75))
    loss = CrossEntropy(label_smoothing=0.2)(logits(WRONG, WRONG), batch([[0, IGNORE_INDEX]]))
    assert loss["cross_entropy"].item() == pytest.approx(expected)


def test_class_weights_give_a_weighted_mean():
    # (3 * ln 2 + 1 * ln 4/3) / (3 + 1)
    loss = CrossEntropy(class_weights=[3.0, 1.0])(
        logits(EVEN, WRONG, WRONG), batch([[0, 1, IGNORE_INDEX]])
    )
    assert loss["cross_entropy"].item() == pytest.approx((3 * math.log(2) + math.log(4 / 3)) / 4)


def test_a_wrong_number_of_class_weights_is_refused():
    with pytest.raises(ValueError, match=r"weight.*2 classes.*got 3"):
        CrossEntropy(class_weights=[1.0, 1.0, 1.0])(logits(EVEN), batch([[0]]))


def test_focal_lowers_the_weight_of_well_classified_pixels():
    # (1 - 0.5) ** 2 * ln 2 and (1 - 0.25) ** 2 * ln 4
    loss = Focal(gamma=2.0)(logits(EVEN, WRONG, WRONG), batch([[0, 0, IGNORE_INDEX]]))
    assert loss["focal"].item() == pytest.approx((0.25 * math.log(2) + 0.5625 * math.log(4)) / 2)


def test_focal_with_gamma_zero_is_the_weighted_cross_entropy():
    outputs = logits(EVEN, WRONG, CERTAIN)
    targets = batch([[0, 1, IGNORE_INDEX]])
    focal = Focal(gamma=0.0, class_weights=[3.0, 1.0])(outputs, targets)
    cross_entropy = CrossEntropy(class_weights=[3.0, 1.0])(outputs, targets)
    assert focal["focal"].item() == pytest.approx(cross_entropy["cross_entropy"].item())


def test_focal_of_a_confident_pixel_has_a_finite_gradient_for_any_gamma():
    outputs = {"semantic": torch.tensor([[90.0], [-90.0]])[None, :, None, :].requires_grad_()}
    Focal(gamma=0.5)(outputs, batch([[0]]))["focal"].backward()
    assert outputs["semantic"].grad.isfinite().all()


def test_a_confident_correct_prediction_has_zero_loss():
    outputs = {"semantic": torch.tensor([[50.0, -50.0], [-50.0, 50.0]])[None, :, None, :]}
    terms = Sum([CrossEntropy(), Dice()])(outputs, batch([[0, 1]]))
    assert terms.keys() == {"cross_entropy", "dice"}
    assert [term.item() for term in terms.values()] == pytest.approx([0, 0], abs=1e-6)


def test_a_sum_of_no_losses_is_refused():
    with pytest.raises(ValueError, match="at least one of `losses`, but got none"):
        Sum([])


def test_two_losses_with_terms_of_one_name_are_refused():
    loss = Sum([CrossEntropy(), CrossEntropy()])
    with pytest.raises(ValueError, match=r"but got \['cross_entropy'\] twice - merge them"):
        loss(logits(EVEN), batch([[0]]))
