import pytest
import segmentation_models_pytorch as smp
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskmill.canonical.categories import IGNORE_INDEX
from maskmill.losses.lovasz import Lovasz


def test_errors_are_weighted_by_their_effect_on_the_iou():
    # Class 0 has the errors 0.4 (outside: IoU 1 -> 1/2) and 0.2 (inside: 1/2 -> 0), so
    # 0.4 / 2 + 0.2 / 2. Class 1 has the error 0.4 (inside: 1 -> 0); further errors change nothing.
    outputs = {"semantic": torch.tensor([[0.8, 0.4], [0.2, 0.6]]).log()[None, :, None, :]}
    loss = Lovasz()(outputs, {"semantic": torch.tensor([[[0, 1]]], dtype=torch.uint8)})
    assert loss["lovasz"].item() == pytest.approx((0.3 + 0.4) / 2)


classes = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from([0, 1, 2, IGNORE_INDEX])), min_size=1, max_size=12
)


@given(classes)
def test_for_a_confident_prediction_it_is_one_minus_the_mean_iou_of_the_classes_present(pixels):
    pred, target = torch.tensor(pixels).T
    outputs = {"semantic": 200 * torch.nn.functional.one_hot(pred, 3).float().T[None, :, None, :]}
    loss = Lovasz()(outputs, {"semantic": target.to(torch.uint8)[None, None]})["lovasz"].item()
    labelled = target != IGNORE_INDEX
    present = target[labelled].unique().tolist()
    ious = []
    for k in present:
        intersection = labelled & (pred == k) & (target == k)
        union = labelled & ((pred == k) | (target == k))
        ious.append(float(intersection.sum() / union.sum()))
    expected = 1 - sum(ious) / len(ious) if ious else 0
    assert loss == pytest.approx(expected, abs=1e-6)


def test_it_equals_the_loss_of_the_authors():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 4, 16, 16, generator=generator, requires_grad=True)
    target = torch.tensor([0, 1, 3, IGNORE_INDEX], dtype=torch.uint8)[
        torch.randint(4, (2, 16, 16), generator=generator)
    ]
    ours = Lovasz()({"semantic": scores}, {"semantic": target})["lovasz"]
    theirs = smp.losses.LovaszLoss("multiclass", ignore_index=IGNORE_INDEX)(scores, target.long())
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(ours, scores)
    (their_gradient,) = torch.autograd.grad(theirs, scores)
    # Theirs subtracts in float32.
    torch.testing.assert_close(gradient, their_gradient, rtol=1e-3, atol=1e-7)


def test_without_labels_the_losses_of_the_library_are_not_finite_scalars():
    target = torch.full((1, 2, 2), IGNORE_INDEX)
    assert smp.losses.LovaszLoss("multiclass", ignore_index=IGNORE_INDEX)(
        torch.zeros(1, 3, 2, 2), target
    ).shape == (0, 3)
    assert smp.losses.FocalLoss("multiclass", ignore_index=IGNORE_INDEX)(
        torch.zeros(1, 3, 2, 2), target
    ).isnan()
